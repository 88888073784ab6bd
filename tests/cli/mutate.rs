//! Damages files in reproducible ways: the same number always gives the same file.

use fastrand::Rng;

/// A file that is damaged.
pub(crate) struct Seed {
    /// Its name, with the extension.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// A damaged file.
pub(crate) struct Mutant {
    /// Its number and the name of its seed.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Applies a mutation to the bytes; the second file is one that parts may come from. Returns whether it was possible.
type Mutation = fn(&mut Vec<u8>, &[u8], &mut Rng) -> bool;

/// Those that leave most of a file readable are more frequent.
const MUTATIONS: [Mutation; 15] = [
    |bytes, _, rng| flip_bits(bytes, rng),
    |bytes, _, rng| flip_bits(bytes, rng),
    |bytes, _, rng| overwrite(bytes, rng),
    truncate,
    duplicate,
    |bytes, _, rng| swap(bytes, rng),
    remove,
    replace_number,
    replace_number,
    replace_number,
    |bytes, _, rng| replace_word(bytes, rng),
    delete_object,
    redirect_reference,
    redirect_reference,
    splice,
];

/// The mutant of this number: one to three mutations of a seed. The seeds take turns.
pub(crate) fn mutant(number: usize, seeds: &[Seed]) -> Mutant {
    let mut rng = Rng::with_seed(number as u64);
    let seed = &seeds[number % seeds.len()];
    let mut bytes = seed.bytes.clone();
    let mut left = rng.usize(1..=3);
    while left > 0 || bytes == seed.bytes {
        let other = &seeds[rng.usize(..seeds.len())].bytes;
        let mutate = MUTATIONS[rng.usize(..MUTATIONS.len())];
        if mutate(&mut bytes, other, &mut rng) {
            left = left.saturating_sub(1);
        }
    }
    Mutant {
        name: format!("{number:04}-{}", seed.name),
        bytes,
    }
}

/// A random part, mostly a short one; `None` in an empty file.
fn part(bytes: &[u8], rng: &mut Rng) -> Option<std::ops::Range<usize>> {
    let start = rng.usize(..bytes.len().max(1));
    let longest = [4, 32, 256][rng.usize(..3)];
    let end = (start + rng.usize(1..=longest)).min(bytes.len());
    (start < end).then_some(start..end)
}

fn flip_bits(bytes: &mut [u8], rng: &mut Rng) -> bool {
    for _ in 0..rng.usize(1..=8) {
        if let Some(byte) = rng.choice(bytes.iter_mut()) {
            *byte ^= 1 << rng.u32(..8);
        }
    }
    !bytes.is_empty()
}

fn overwrite(bytes: &mut [u8], rng: &mut Rng) -> bool {
    let range = part(bytes, rng);
    let value = [0, 0xff, b' ', rng.u8(..)][rng.usize(..4)];
    range.map(|range| bytes[range].fill(value)).is_some()
}

fn truncate(bytes: &mut Vec<u8>, _: &[u8], rng: &mut Rng) -> bool {
    bytes.truncate(rng.usize(..bytes.len().max(1)));
    true
}

fn duplicate(bytes: &mut Vec<u8>, _: &[u8], rng: &mut Rng) -> bool {
    let Some(range) = part(bytes, rng) else {
        return false;
    };
    let at = rng.usize(..=bytes.len());
    let copy = bytes[range].to_vec();
    bytes.splice(at..at, copy);
    true
}

fn swap(bytes: &mut [u8], rng: &mut Rng) -> bool {
    let (Some(a), Some(b)) = (part(bytes, rng), part(bytes, rng)) else {
        return false;
    };
    let length = a.len().min(b.len());
    for offset in 0..length {
        bytes.swap(a.start + offset, b.start + offset);
    }
    true
}

fn remove(bytes: &mut Vec<u8>, _: &[u8], rng: &mut Rng) -> bool {
    let range = part(bytes, rng);
    range.map(|range| drop(bytes.drain(range))).is_some()
}

/// Replaces a number that is written in digits.
fn replace_number(bytes: &mut Vec<u8>, _: &[u8], rng: &mut Rng) -> bool {
    const NUMBERS: [&str; 10] = [
        "0",
        "-1",
        "1",
        "65536",
        "16777215",
        "2147483647",
        "-2147483648",
        "4294967295",
        "99999999999999999999",
        "0.0000001",
    ];
    let starts = (0..bytes.len()).filter(|&i| {
        bytes[i].is_ascii_digit() && !i.checked_sub(1).is_some_and(|j| bytes[j].is_ascii_digit())
    });
    let Some(start) = rng.choice(starts.collect::<Vec<_>>()) else {
        return false;
    };
    let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit());
    let end = start + digits.count();
    bytes.splice(start..end, NUMBERS[rng.usize(..NUMBERS.len())].bytes());
    true
}

/// Replaces two or four bytes by an extreme binary number, mostly in the first bytes, where pictures have their sizes.
fn replace_word(bytes: &mut [u8], rng: &mut Rng) -> bool {
    const WORDS: [u32; 8] = [
        0,
        1,
        0xff,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fffe,
        u32::MAX,
    ];
    let width = [2, 4][rng.usize(..2)];
    let reach = if rng.u8(..4) == 0 { bytes.len() } else { 128 };
    let Some(last) = bytes.len().min(reach).checked_sub(width) else {
        return false;
    };
    let word = WORDS[rng.usize(..WORDS.len())];
    let word = if rng.bool() {
        word.to_be_bytes()[4 - width..].to_vec()
    } else {
        word.to_le_bytes()[..width].to_vec()
    };
    let at = rng.usize(..=last);
    bytes[at..at + width].copy_from_slice(&word);
    true
}

/// Positions of a word.
fn positions(bytes: &[u8], word: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(word.len()).enumerate();
    windows
        .filter(|(_, w)| *w == word)
        .map(|(at, _)| at)
        .collect()
}

/// Start of the number that ends before `end`.
fn number_before(bytes: &[u8], end: usize) -> usize {
    let digits = bytes[..end].iter().rev().take_while(|b| b.is_ascii_digit());
    end - digits.count()
}

/// Deletes an object of a PDF.
fn delete_object(bytes: &mut Vec<u8>, _: &[u8], rng: &mut Rng) -> bool {
    const END: &[u8] = b"endobj";
    let Some(at) = rng.choice(positions(bytes, b" 0 obj")) else {
        return false;
    };
    let start = number_before(bytes, at);
    let length = positions(&bytes[at..], END).first().copied();
    let end = length.map_or(bytes.len(), |length| at + length + END.len());
    bytes.drain(start..end);
    true
}

/// Makes a reference of a PDF point to another object.
fn redirect_reference(bytes: &mut Vec<u8>, _: &[u8], rng: &mut Rng) -> bool {
    let objects = positions(bytes, b" 0 obj").len();
    let Some(at) = rng.choice(positions(bytes, b" 0 R")) else {
        return false;
    };
    let start = number_before(bytes, at);
    let other = rng.usize(1..=objects + 1);
    bytes.splice(start..at, other.to_string().into_bytes());
    true
}

/// Replaces the end of the file by the end of another.
fn splice(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) -> bool {
    bytes.truncate(rng.usize(..=bytes.len()));
    bytes.extend_from_slice(&other[rng.usize(..=other.len())..]);
    true
}
