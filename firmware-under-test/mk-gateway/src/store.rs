//! The firmware images list: what MeshOS uploaded, as it came.
//!
//! Images are not judged here. An image that nodes will refuse is handed out all the same, because only nodes hold keys.

use crate::settings::Limits;
use alloc::vec::Vec;
use mk_wire::metadata::FirmwareMetadata;
use mk_wire::{BlobId, Fwid, FwidRef};
use sha2::{Digest, Sha256};

/// A stored image.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredImage {
    pub fwid: Fwid,
    pub metadata: Vec<u8>,
    pub image: Vec<u8>,
    pub image_sha256: [u8; 32],
    pub metadata_sha256: [u8; 32],
}

impl StoredImage {
    pub fn new(fwid: Fwid, metadata: Vec<u8>, image: Vec<u8>) -> Self {
        let image_sha256 = Sha256::digest(&image).into();
        let metadata_sha256 = Sha256::digest(&metadata).into();
        StoredImage { fwid, metadata, image, image_sha256, metadata_sha256 }
    }

    /// Octets of the image; the store takes none that is longer than 32 bits can say.
    pub fn size(&self) -> u32 {
        u32::try_from(self.image.len()).unwrap_or(u32::MAX)
    }

    /// What the metadata says, if it is laid out as ours.
    pub fn facts(&self) -> Option<FirmwareMetadata> {
        FirmwareMetadata::from_bytes(&self.metadata).ok()
    }

    /// The BLOB that carries this image on the mesh. It follows from image and metadata, so that a later distribution of
    /// the same image resumes what an earlier one left at the nodes, and one of another image never does.
    pub fn blob_id(&self) -> BlobId {
        let mut id = [0; 8];
        for (octet, (a, b)) in id.iter_mut().zip(self.image_sha256.iter().zip(&self.metadata_sha256)) {
            *octet = a ^ b;
        }
        BlobId(u64::from_le_bytes(id))
    }

    /// The entity tag of the image in CoAP.
    pub fn etag(&self) -> [u8; 8] {
        let mut etag = [0; 8];
        etag.copy_from_slice(&self.image_sha256[..8]);
        etag
    }
}

/// The list; an image's index is its place in it.
pub(crate) struct ImageStore {
    images: Vec<StoredImage>,
    max_images: u16,
    max_image_size: u32,
    space: u32,
}

impl ImageStore {
    pub fn new(limits: &Limits) -> Self {
        ImageStore {
            images: Vec::new(),
            max_images: limits.max_images,
            max_image_size: limits.max_image_size,
            space: limits.image_space,
        }
    }

    pub fn count(&self) -> u16 {
        u16::try_from(self.images.len()).unwrap_or(u16::MAX)
    }

    pub fn get(&self, index: u16) -> Option<&StoredImage> {
        self.images.get(usize::from(index))
    }

    pub fn find(&self, fwid: FwidRef<'_>) -> Option<(u16, &StoredImage)> {
        let index = self.images.iter().position(|image| image.fwid.as_ref() == fwid)?;
        Some((u16::try_from(index).ok()?, self.images.get(index)?))
    }

    pub fn remaining_space(&self) -> u32 {
        self.images.iter().fold(self.space, |space, image| space.saturating_sub(image.size()))
    }

    /// Is there room for one more image of this size?
    pub fn has_room(&self, size: u32) -> bool {
        self.count() < self.max_images && size <= self.max_image_size && size <= self.remaining_space()
    }

    /// Stores an image; one with the same firmware id is replaced in place.
    pub fn put(&mut self, image: StoredImage) {
        match self.images.iter_mut().find(|stored| stored.fwid == image.fwid) {
            Some(stored) => *stored = image,
            None => self.images.push(image),
        }
    }

    /// Deletes an image; false if there was none.
    pub fn delete(&mut self, fwid: FwidRef<'_>) -> bool {
        let before = self.images.len();
        self.images.retain(|image| image.fwid.as_ref() != fwid);
        self.images.len() != before
    }

    pub fn delete_all(&mut self) {
        self.images.clear();
    }
}
