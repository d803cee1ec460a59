//! Our own access messages: first-boot confirmation, boot report, health, application reports, light control.
//!
//! Three-octet opcodes, `0xC0 + n` followed by the company id. The standard's Confirm step (reading the firmware id back)
//! can succeed before a roll-back, so a node keeps bank B only after `ConfirmAck`; see design section 2, "Distribution".

use crate::access::DecodeErrorKind;
use crate::codec::{Fault, Reader, Writer, wire_enum};
use crate::reason::Reason;
use crate::update;
use crate::version::Version;

/// The company id of all our messages and firmware ids. 0xFFFF is the value reserved for tests.
pub const COMPANY_ID: u16 = 0xFFFF;

wire_enum! {
    /// First octet of our opcodes.
    pub enum Opcode {
        /// [`Confirm`].
        Confirm = 0xC0,
        /// [`ConfirmAck`].
        ConfirmAck = 0xC1,
        /// Ask for a [`Report`].
        ReportGet = 0xC2,
        /// [`Report`].
        Report = 0xC3,
        /// [`Health`].
        Health = 0xC4,
        /// [`AppReport`].
        AppReport = 0xC5,
        /// [`LightSet`].
        LightSet = 0xC6,
    }
}

wire_enum! {
    /// What the bootloader last decided, as the node reports it.
    pub enum BootOutcome {
        /// Nothing but the factory image ever ran.
        None = 0,
        /// The first boot of a freshly installed image.
        FirstBoot = 1,
        /// The running image is confirmed.
        Confirmed = 2,
        /// A trial image is running and waits for the gateway's acknowledgement.
        Unconfirmed = 3,
        /// The trial image was given up; the image before it runs again.
        RolledBack = 4,
        /// A staged image was refused before anything was installed.
        Rejected = 5,
    }
}

/// Node to gateway, repeated until acknowledged: the first boot after an update reached the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confirm {
    /// Total resets of the node; names this boot.
    pub boot_count: u32,
    /// Firmware id of the running image: company id, then version.
    pub fwid: [u8; 10],
}

/// Gateway to node: the confirmation of this boot was received and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfirmAck {
    /// The boot that is acknowledged; an acknowledgement of another boot has no effect.
    pub boot_count: u32,
}

/// Node to gateway after each boot and on request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Version of the running image.
    pub running: Version,
    /// Configuration schema in use.
    pub config_version: u16,
    /// Total resets of the node.
    pub boot_count: u32,
    /// What was decided last.
    pub outcome: BootOutcome,
    /// Why; [`Reason::None`] when nothing was refused.
    pub reason: Reason,
    /// The image that outcome and reason speak of.
    pub about: Version,
    /// Firmware Update phase of the node.
    pub update_phase: update::Phase,
}

/// Node to gateway, the heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    /// Hops to the gateway.
    pub hops: u8,
    /// Received strength of the last gateway message, in dBm.
    pub rssi_dbm: i8,
    /// Time since the last reset, in seconds.
    pub uptime_s: u32,
    /// The application runs, but says that something is wrong.
    pub degraded: bool,
}

/// Node to gateway at the application's interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppReport {
    /// Temperature in hundredths of a degree Celsius.
    pub temperature_centi_c: i16,
    /// Light level, 0 off to 255 full.
    pub light_level: u8,
    /// Energy drawn so far, in watt hours.
    pub energy_wh: u32,
}

/// Scene or switch to nodes, unacknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LightSet {
    /// Light level, 0 off to 255 full.
    pub level: u8,
    /// Transaction id: repeats carry the same one.
    pub tid: u8,
}

/// One of our messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// First-boot confirmation.
    Confirm(Confirm),
    /// Its acknowledgement.
    ConfirmAck(ConfirmAck),
    /// Request for a report.
    ReportGet,
    /// Boot report.
    Report(Report),
    /// Heartbeat.
    Health(Health),
    /// Application report.
    AppReport(AppReport),
    /// Light control.
    LightSet(LightSet),
}

impl Message {
    /// First octet of the message.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        match self {
            Message::Confirm(_) => Opcode::Confirm,
            Message::ConfirmAck(_) => Opcode::ConfirmAck,
            Message::ReportGet => Opcode::ReportGet,
            Message::Report(_) => Opcode::Report,
            Message::Health(_) => Opcode::Health,
            Message::AppReport(_) => Opcode::AppReport,
            Message::LightSet(_) => Opcode::LightSet,
        }
    }

    pub(crate) fn decode(opcode: Opcode, r: &mut Reader<'_>) -> Result<Self, Fault> {
        let message = match opcode {
            Opcode::Confirm => Message::Confirm(Confirm { boot_count: r.u32()?, fwid: r.array()? }),
            Opcode::ConfirmAck => Message::ConfirmAck(ConfirmAck { boot_count: r.u32()? }),
            Opcode::ReportGet => Message::ReportGet,
            Opcode::Report => Message::Report(Report {
                running: Version::from_bytes(r.array()?),
                config_version: r.u16()?,
                boot_count: r.u32()?,
                outcome: r.value(BootOutcome::from_u8)?,
                reason: r.value(Reason::from_u8)?,
                about: Version::from_bytes(r.array()?),
                update_phase: r.value(update::Phase::from_u8)?,
            }),
            Opcode::Health => Message::Health(Health {
                hops: r.u8()?,
                rssi_dbm: i8::from_le_bytes(r.array()?),
                uptime_s: r.u32()?,
                degraded: match r.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(r.fault(1, DecodeErrorKind::ReservedBits)),
                },
            }),
            Opcode::AppReport => Message::AppReport(AppReport {
                temperature_centi_c: i16::from_le_bytes(r.array()?),
                light_level: r.u8()?,
                energy_wh: r.u32()?,
            }),
            Opcode::LightSet => Message::LightSet(LightSet { level: r.u8()?, tid: r.u8()? }),
        };
        r.end()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.u8(self.opcode() as u8).u16(COMPANY_ID);
        match self {
            Message::Confirm(m) => w.u32(m.boot_count).bytes(&m.fwid),
            Message::ConfirmAck(m) => w.u32(m.boot_count),
            Message::ReportGet => w,
            Message::Report(m) => w
                .bytes(&m.running.to_bytes())
                .u16(m.config_version)
                .u32(m.boot_count)
                .u8(m.outcome as u8)
                .u8(m.reason as u8)
                .bytes(&m.about.to_bytes())
                .u8(m.update_phase as u8),
            Message::Health(m) => {
                w.u8(m.hops).bytes(&m.rssi_dbm.to_le_bytes()).u32(m.uptime_s).u8(u8::from(m.degraded))
            }
            Message::AppReport(m) => w.bytes(&m.temperature_centi_c.to_le_bytes()).u8(m.light_level).u32(m.energy_wh),
            Message::LightSet(m) => w.u8(m.level).u8(m.tid),
        };
    }
}
