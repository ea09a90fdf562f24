//! The workshop: throw-away machines in which layers are made.
