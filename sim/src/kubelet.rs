//! One node: runs its pods as processes or echo servers, and says how they are.
