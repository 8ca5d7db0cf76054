"""One file a stage of the work: settings in, result out."""
