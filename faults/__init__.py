"""Faults on purpose: kills, full disks, damaged files, lost stores, and what comes of them."""
