//! The fuzz bodies on random bytes, on mutated records, and frames that come in arbitrary pieces.

#[path = "support/fuzz_bodies.rs"]
mod bodies;

use bodies::ALL;
use ostler_wire::frame;
use proptest::collection::vec;
use proptest::prelude::*;

/// Fields that records are made of, so that nonsense gets further than the first length.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        4 => (-12..25i32).prop_map(|i| i.to_be_bytes().to_vec()),
        1 => prop_oneof![Just(-1i32), Just(-2), Just(i32::MAX), Just(i32::MIN), Just(100), Just(105)]
            .prop_map(|i| i.to_be_bytes().to_vec()),
        1 => any::<i64>().prop_map(|i| i.to_be_bytes().to_vec()),
        4 => "/[a-c/.\\x00é😀]{0,6}".prop_map(|s| {
            let mut bytes = (s.len() as i32).to_be_bytes().to_vec();
            bytes.extend_from_slice(s.as_bytes());
            bytes
        }),
        1 => vec(any::<u8>(), 0..6),
        1 => Just(b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone".to_vec()),
        1 => (any::<i32>(), 0..2u8).prop_map(|(kind, done)| {
            let mut header = (kind % 24).to_be_bytes().to_vec();
            header.push(done);
            header.extend_from_slice(&[255; 4]);
            header
        }),
    ];
    vec(field, 0..12).prop_map(|fields| fields.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn random_bytes(data in vec(any::<u8>(), 0..80)) {
        for (_, body) in ALL {
            body(&data);
        }
    }

    #[test]
    fn records_out_of_order(data in fields()) {
        for (_, body) in ALL {
            body(&data);
        }
    }

    #[test]
    fn mutated_records(
        mut data in fields(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        if data.is_empty() {
            return Ok(());
        }
        for (at, byte) in flips {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if cuts {
            data.truncate(cut.index(data.len()));
        }
        for (_, body) in ALL {
            body(&data);
        }
    }

    #[test]
    fn paths_are_judged_as_java_does(path in "(/|\\.|a|\\x00|\\x1f|\\x7f|é|\u{e000}|\u{f8ff}|\u{f900}|\u{fff0}|😀|~| ){0,8}") {
        bodies::fuzz_path(path.as_bytes());
        bodies::fuzz_path(format!("/{path}").as_bytes());
    }

    #[test]
    fn frames_in_arbitrary_pieces(
        payloads in vec(vec(any::<u8>(), 0..40), 0..8),
        pieces in vec(1..17usize, 1..200),
    ) {
        let mut stream = Vec::new();
        for payload in &payloads {
            let start = frame::begin(&mut stream);
            stream.extend_from_slice(payload);
            frame::finish(&mut stream, start);
        }
        let (mut got, mut unread, mut sent) = (Vec::new(), Vec::new(), 0);
        for piece in pieces.iter().cycle() {
            if sent == stream.len() {
                break;
            }
            let next = (sent + piece).min(stream.len());
            unread.extend_from_slice(&stream[sent..next]);
            sent = next;
            loop {
                match frame::split(&unread, 40) {
                    Ok(Some((payload, rest))) => {
                        got.push(payload.to_vec());
                        unread = rest.to_vec();
                    }
                    Ok(None) => break,
                    Err(e) => panic!("{e}"),
                }
            }
        }
        prop_assert!(unread.is_empty());
        prop_assert_eq!(got, payloads);
    }

    #[test]
    fn a_bad_length_is_known_from_its_four_bytes(length in any::<i32>(), max in 0..2000usize) {
        let bytes = length.to_be_bytes();
        let is_bad = usize::try_from(length).map_or(true, |n| n > max);
        prop_assert_eq!(frame::split(&bytes, max).is_err(), is_bad);
        for n in 0..4 {
            prop_assert_eq!(frame::split(&bytes[..n], max), Ok(None));
        }
    }
}
