//! The built-in server that stands for every image we do not have.
