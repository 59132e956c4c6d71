//! How a feature declares itself: what it is, what it answers, what it filters.
