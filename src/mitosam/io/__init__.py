"""Files in and out: one file a format; a `Volume` is read one section at a time."""
