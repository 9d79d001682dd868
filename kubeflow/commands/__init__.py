"""The commands of `vqvae` that need Kubeflow, a module each."""
