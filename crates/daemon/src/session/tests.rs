//! Tests of the whole process.
