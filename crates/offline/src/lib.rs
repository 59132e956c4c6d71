//! What waits for someone who is away, and its replay.
