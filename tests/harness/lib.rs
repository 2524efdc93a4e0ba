//! What the tests of this package share.
//!
//! In reading order: [`repository`] finds the files of the repository for the tests that read it.

pub mod repository;
