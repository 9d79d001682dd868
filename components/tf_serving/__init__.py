"""What TensorFlow Serving finds beside a SavedModel."""
