"""Ways to find the brain, each behind the protocol of `mriprep.extractors.base`."""
