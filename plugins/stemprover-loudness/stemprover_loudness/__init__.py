"""Loudness (ITU-R BS.1770) as a metric, and a log of what each repair does to it."""
