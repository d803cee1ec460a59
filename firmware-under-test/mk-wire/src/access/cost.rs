//! How many network PDUs an access message costs (sections 12.4 and 12.6).

/// Longest access message that goes unsegmented, in octets.
const UNSEGMENTED: usize = 11;
/// Octets of an upper transport PDU that one segment carries.
const SEGMENT: usize = 12;

/// Network PDUs of an access message of `access_len` octets (opcode included). `long_mic` says that the sender takes a
/// 64-bit MIC for segmented messages; unsegmented ones always carry 32 bits.
#[must_use]
pub const fn network_pdus(access_len: usize, long_mic: bool) -> usize {
    if access_len <= UNSEGMENTED {
        return 1;
    }
    let mic = if long_mic { 8 } else { 4 };
    (access_len + mic).div_ceil(SEGMENT)
}

/// Network PDUs of a Chunk Transfer with `data_len` octets of data.
#[must_use]
pub const fn chunk_network_pdus(data_len: usize, long_mic: bool) -> usize {
    network_pdus(3 + data_len, long_mic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(8, 1)]
    #[case(9, 2)]
    #[case(17, 2)]
    #[case(18, 3)]
    #[case(29, 3)]
    #[case(41, 4)]
    #[case(65, 6)]
    #[case(113, 10)]
    #[case(185, 16)]
    #[case(186, 17)]
    #[case(233, 20)]
    #[case(281, 24)]
    #[case(329, 28)]
    #[case(377, 32)]
    fn a_chunk_costs_what_the_table_of_section_12_6_says(#[case] data_len: usize, #[case] pdus: usize) {
        assert_eq!(chunk_network_pdus(data_len, false), pdus);
    }

    #[rstest]
    #[case(11, 1)]
    #[case(12, 2)]
    #[case(16, 2)]
    #[case(17, 3)]
    #[case(376, 32)]
    fn a_long_mic_costs_four_octets_more_once_segmented(#[case] access_len: usize, #[case] pdus: usize) {
        assert_eq!(network_pdus(access_len, true), pdus);
    }
}
