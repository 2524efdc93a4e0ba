//! Fills in what a client left out, as the real server's defaulting does. Pure.
