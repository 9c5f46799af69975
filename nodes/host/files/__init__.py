"""Files and folders: models, downloads, spectra."""
