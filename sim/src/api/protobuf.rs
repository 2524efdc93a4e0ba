//! Reads the protobuf bodies that kubectl 1.32 and newer send. Pure.
