"""Speech as gray images: waveforms to spectrograms and back, and how alike two waveforms are."""
