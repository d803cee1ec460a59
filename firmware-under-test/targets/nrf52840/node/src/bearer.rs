//! The advertising bearer: every mesh PDU is one advertising event on channels 37, 38 and 39; everything heard between two of
//! them is looked through for mesh PDUs.
//!
//! The SoftDevice has one advertising set and one scanner. Events are 20 ms apart at the least, so at most 50 PDUs leave in a
//! second; what the scanner hears beyond the queue's room is lost, as any PDU on the air may be.

use board::regs;
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, channel::Channel};
use heapless::Vec;
use mk_wire::radio_link::{AD_MESH_BEACON, AD_MESH_MESSAGE, MAX_PDU};
use nrf_softdevice::{
    Softdevice,
    ble::{central, peripheral},
    raw,
};

/// Octets of advertising data.
const ADVERTISING_DATA: usize = 31;
/// Steps of 0.625 ms: 20 ms, the least interval.
const INTERVAL: u32 = 32;
/// The scanner listens all the time; it changes channel every 30 ms.
const SCAN: u32 = 48;

/// What is sent or was heard: AD type and PDU.
#[derive(Clone, Debug)]
pub struct Advertisement {
    /// Mesh message or mesh beacon.
    pub ad_type: u8,
    /// Strength of what was heard, in dBm.
    pub rssi_dbm: i8,
    /// What follows the AD type.
    pub pdu: Vec<u8, MAX_PDU>,
}

/// Advertisements that wait.
pub type Queue<const N: usize> = Channel<CriticalSectionRawMutex, Advertisement, N>;

/// Configuration of the SoftDevice: one advertising set, one scanner, one connection that is never made; the crystal of the
/// kit.
#[must_use]
pub fn softdevice_config() -> nrf_softdevice::Config {
    nrf_softdevice::Config {
        clock: Some(raw::nrf_clock_lf_cfg_t {
            source: raw::NRF_CLOCK_LF_SRC_XTAL as u8,
            rc_ctiv: 0,
            rc_temp_ctiv: 0,
            accuracy: raw::NRF_CLOCK_LF_ACCURACY_20_PPM as u8,
        }),
        conn_gap: Some(raw::ble_gap_conn_cfg_t { conn_count: 1, event_length: 6 }),
        gap_role_count: Some(raw::ble_gap_cfg_role_count_t {
            adv_set_count: 1,
            periph_role_count: 1,
            central_role_count: 0,
            central_sec_count: 0,
            _bitfield_1: raw::ble_gap_cfg_role_count_t::new_bitfield_1(0),
        }),
        ..Default::default()
    }
}

/// Sends what is in the queue, for ever; tells `sent` of each, in order.
pub async fn send<const N: usize>(softdevice: &Softdevice, queue: &Queue<N>, sent: impl Fn()) -> ! {
    loop {
        let advertisement = queue.receive().await;
        let mut data = Vec::<u8, ADVERTISING_DATA>::new();
        // Length, AD type and PDU: 31 octets at most.
        let _ = data.extend_from_slice(&[advertisement.pdu.len() as u8 + 1, advertisement.ad_type]);
        let _ = data.extend_from_slice(&advertisement.pdu);
        let config = peripheral::Config { interval: INTERVAL, max_events: Some(1), ..Default::default() };
        let event = peripheral::NonconnectableAdvertisement::NonscannableUndirected { adv_data: &data };
        // One event and it is over, which the crate calls a time-out; any other failure is a PDU lost on the air.
        let _ = peripheral::advertise(softdevice, event, &config).await;
        sent();
    }
}

/// Fills the queue with what is heard, for ever.
pub async fn listen<const N: usize>(softdevice: &Softdevice, queue: &Queue<N>) -> ! {
    let config =
        central::ScanConfig { extended: false, active: false, interval: SCAN, window: SCAN, ..Default::default() };
    loop {
        // Called with interrupts masked: copy, and leave.
        let ended: Result<(), _> = central::scan(softdevice, &config, |report| {
            each_mesh_pdu(regs::report_octets(report), |ad_type, pdu| {
                if let Ok(pdu) = Vec::from_slice(pdu) {
                    // Full: lost.
                    let _ = queue.try_send(Advertisement { ad_type, rssi_dbm: report.rssi, pdu });
                }
            });
            None
        })
        .await;
        // Scanning ends only when the SoftDevice refuses it; not so fast, then.
        if ended.is_err() {
            embassy_time::Timer::after_millis(100).await;
        }
    }
}

/// The mesh PDUs in advertising data: structures of length, AD type and content.
fn each_mesh_pdu(mut data: &[u8], mut found: impl FnMut(u8, &[u8])) {
    while let [length, rest @ ..] = data {
        let Some((structure, behind)) = rest.split_at_checked(usize::from(*length)) else { return };
        if let [ad_type @ (AD_MESH_MESSAGE | AD_MESH_BEACON), pdu @ ..] = structure
            && !pdu.is_empty()
        {
            found(*ad_type, pdu);
        }
        data = behind;
    }
}
