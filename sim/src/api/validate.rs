//! Refuses objects that break a rule, in the real server's words. Pure.
