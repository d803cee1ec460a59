//! A fixed bitmap in the order of the wire: item i in octet i/8, bit i%8.

/// `OCTETS` x 8 bits, all clear at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bitmap<const OCTETS: usize>([u8; OCTETS]);

impl<const OCTETS: usize> Default for Bitmap<OCTETS> {
    fn default() -> Self {
        Bitmap([0; OCTETS])
    }
}

impl<const OCTETS: usize> Bitmap<OCTETS> {
    /// The first `items` bits set.
    #[must_use]
    pub fn full(items: u16) -> Self {
        let items = usize::from(items).min(OCTETS * 8);
        let mut bits = [0; OCTETS];
        let (whole, rest) = bits.split_at_mut(items / 8);
        whole.fill(0xFF);
        if let Some(last) = rest.first_mut() {
            *last = (1u8 << (items % 8)) - 1;
        }
        Bitmap(bits)
    }

    /// A bitmap from octets in wire order; what is missing is clear, what is too much is left out.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Self {
        let mut bits = [0; OCTETS];
        for (to, from) in bits.iter_mut().zip(octets) {
            *to = *from;
        }
        Bitmap(bits)
    }

    /// The octets that hold the first `items` bits.
    #[must_use]
    pub fn octets(&self, items: u16) -> &[u8] {
        self.0.get(..usize::from(items).div_ceil(8)).unwrap_or(&self.0)
    }

    /// The same octets, to be changed in place.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Is this bit set? Bits past the end are not.
    #[must_use]
    pub fn get(&self, item: u16) -> bool {
        self.0.get(usize::from(item / 8)).is_some_and(|octet| octet >> (item % 8) & 1 == 1)
    }

    /// Sets a bit; past the end, does nothing.
    pub fn set(&mut self, item: u16) {
        if let Some(octet) = self.0.get_mut(usize::from(item / 8)) {
            *octet |= 1 << (item % 8);
        }
    }

    /// Clears a bit and says whether it was set.
    pub fn clear(&mut self, item: u16) -> bool {
        let Some(octet) = self.0.get_mut(usize::from(item / 8)) else { return false };
        let mask = 1 << (item % 8);
        let was_set = *octet & mask != 0;
        *octet &= !mask;
        was_set
    }

    /// Number of set bits.
    #[must_use]
    pub fn count(&self) -> u16 {
        // At most 8 * OCTETS, and no bitmap of ours has more than 65,535 bits.
        self.0.iter().map(|octet| octet.count_ones() as u16).sum()
    }

    /// Is no bit set?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|octet| *octet == 0)
    }

    /// The first set bit at or after `from`.
    #[must_use]
    pub fn next_set(&self, from: u16) -> Option<u16> {
        let mut at = usize::from(from / 8);
        let mut octet = self.0.get(at)? & (0xFF << (from % 8));
        while octet == 0 {
            at += 1;
            octet = *self.0.get(at)?;
        }
        u16::try_from(at * 8 + octet.trailing_zeros() as usize).ok()
    }

    /// The set bits, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let mut next = Some(0);
        core::iter::from_fn(move || {
            let found = self.next_set(next?);
            next = found.and_then(|item| item.checked_add(1));
            found
        })
    }

    /// Sets every bit that `other` has.
    pub fn add(&mut self, other: &Self) {
        for (to, from) in self.0.iter_mut().zip(other.0) {
            *to |= from;
        }
    }

    /// Keeps only the bits that `other` has too.
    pub fn keep(&mut self, other: &Self) {
        for (to, from) in self.0.iter_mut().zip(other.0) {
            *to &= from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bitmap;
    use proptest::prelude::*;
    use rstest::rstest;
    use std::collections::BTreeSet;

    #[rstest]
    #[case(0, &[0, 0])]
    #[case(1, &[1, 0])]
    #[case(8, &[0xFF, 0])]
    #[case(11, &[0xFF, 0x07])]
    #[case(16, &[0xFF, 0xFF])]
    #[case::more_than_fit(17, &[0xFF, 0xFF])]
    fn a_full_bitmap_has_exactly_the_items_set(#[case] items: u16, #[case] octets: &[u8]) {
        assert_eq!(Bitmap::<2>::full(items).octets(16), octets);
    }

    proptest! {
        #[test]
        fn a_bitmap_is_a_set_of_small_numbers(set in proptest::collection::btree_set(0u16..24, 0..24), cleared in 0u16..30) {
            let mut bitmap = Bitmap::<3>::default();
            set.iter().for_each(|item| bitmap.set(*item));
            prop_assert_eq!(bitmap.iter().collect::<BTreeSet<_>>(), set.clone());
            prop_assert_eq!(usize::from(bitmap.count()), set.len());
            prop_assert_eq!(bitmap.clear(cleared), set.contains(&cleared));
            prop_assert!(!bitmap.get(cleared));
            prop_assert_eq!(bitmap.is_empty(), set.iter().all(|item| *item == cleared));
        }
    }
}
