//! Keeps new clients away from a listener that is about to close, without refusing any.
//!
//! Closing one of several listeners that share an address (SO_REUSEPORT) resets the connections in its accept queue, and the
//! handshakes that it has begun with them: the kernel moves neither to the others. A socket filter in front of the listener drops
//! segments that begin a connection, and nothing else. A client whose segment was dropped sends it again after a second (RFC 6298
//! §2.1), and comes to a listener that is still there. Connections that are accepted meanwhile inherit the filter; such a segment means
//! nothing to them. See docs/adr/0016-hand-off.md.

use std::io;

use socket2::{SockFilter, SockRef};
use tokio::net::TcpListener;

/// Classic BPF over a TCP segment: what a filter of a listener sees begins with the TCP header.
const DROP_FIRST_SEGMENTS: [SockFilter; 5] = [
    SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
    SockFilter::new(AND, 0, 0, SYN | ACK),
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];

// The instructions, as linux/bpf_common.h names their parts.
/// `BPF_LD | BPF_B | BPF_ABS`
const LOAD_BYTE: u16 = 0x30;
/// `BPF_ALU | BPF_AND | BPF_K`
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JEQ | BPF_K`: how many instructions to pass over when equal, and when not.
const JUMP_IF_EQUAL: u16 = 0x15;
/// `BPF_RET | BPF_K`: how many bytes of the segment to keep.
const RETURN: u16 = 0x06;

/// The byte of the TCP header with the flags (RFC 9293 §3.1).
const FLAGS_OFFSET: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// No client begins a connection with this listener any more.
pub(super) fn quiet(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).attach_filter(&DROP_FIRST_SEGMENTS)
}
