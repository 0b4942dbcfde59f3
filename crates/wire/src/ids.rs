//! The ids of ZooKeeper as types of their own, so that a zxid can't be taken for a session.

use std::fmt;

use crate::jute::{DecodeError, Field, Reader};

macro_rules! id {
    ($(#[$meta:meta])* $name:ident($inner:ty), $fmt:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);
        impl<'a> Field<'a> for $name {
            fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> { Ok(Self(Field::read(r)?)) }
            fn write(&self, out: &mut Vec<u8>) { self.0.write(out); }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, $fmt, self.0) }
        }
    };
}

id! {
    /// A transaction id: the epoch in the high 32 bits, a counter in the low 32. Shown as `0x…`, as ZooKeeper does.
    Zxid(i64), "{:#x}"
}
id! {
    /// A session id: the server's id in the top byte, a clock and a counter below. Shown as `0x…`.
    SessionId(i64), "{:#x}"
}
id! {
    /// The client's number of a request; negative ones have meanings of their own (see the constants).
    Xid(i32), "{}"
}
id! {
    /// A server's number in its ensemble (`myid`).
    ServerId(i64), "{}"
}
id! {
    /// A period of one leader; the high half of its zxids. Signed, as the arithmetic shift in Apache makes it.
    Epoch(i32), "{}"
}

impl Zxid {
    /// No transaction at all.
    pub const ZERO: Self = Self(0);

    /// The zxid with this epoch and counter.
    pub const fn new(epoch: Epoch, counter: u32) -> Self {
        Self(((epoch.0 as i64) << 32) | counter as i64)
    }

    /// The epoch that this zxid belongs to.
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as i32)
    }

    /// The position inside the epoch.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid. The counter running over into the epoch is the caller's to prevent.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl Xid {
    /// Of a watch event.
    pub const NOTIFICATION: Self = Self(-1);
    /// Of a ping and its reply.
    pub const PING: Self = Self(-2);
    /// Of an auth packet, as the Java and C clients send it.
    pub const AUTH: Self = Self(-4);
    /// Of setWatches, as the C client sends it.
    pub const SET_WATCHES: Self = Self(-8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxid_halves() {
        let z = Zxid::new(Epoch(3), 9);
        assert_eq!(z.0, 0x3_0000_0009);
        assert_eq!((z.epoch(), z.counter()), (Epoch(3), 9));
        assert_eq!(z.to_string(), "0x300000009");
        assert_eq!(Zxid(-1).epoch(), Epoch(-1));
    }
}
