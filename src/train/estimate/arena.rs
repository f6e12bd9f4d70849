//! Where the GPU's allocator puts buffers, to know how much it holds for what is in use.
//!
//! cubecl carves buffers out of pages and gives no page back: small buffers out of pages of their own, all others, first
//! fit, out of pages that are a little larger than the largest buffer so far. Once a larger one comes, pages of the new
//! size take over; older pages take nothing more and go back when they are empty
//! (`cubecl_server::memory_management::dynamic`).

/// Buffers begin at multiples of this.
const ALIGNMENT: u64 = 256;
/// Largest buffer that counts as small, and the pages of small buffers.
const SMALL: (u64, u64) = (64 << 10, 8 << 20);
/// The smallest page of other buffers.
const SMALLEST_PAGE: u64 = 2 << 20;
/// What a page has beyond the buffer that it was sized for, and the unit of its size.
const SLACK: u64 = 1 << 20;

/// A place in the arena: pool, page and offset.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pool: usize,
    page: usize,
    offset: u64,
}

struct Piece {
    offset: u64,
    len: u64,
    free: bool,
}

/// Neighbouring pieces are never both free.
struct Page {
    pieces: Vec<Piece>,
}

impl Page {
    fn reserve(&mut self, len: u64) -> Option<u64> {
        let at = self.pieces.iter().position(|piece| piece.free && piece.len >= len)?;
        let Piece { offset, len: room, .. } = self.pieces[at];
        self.pieces[at] = Piece { offset, len, free: false };
        if room > len {
            self.pieces.insert(at + 1, Piece { offset: offset + len, len: room - len, free: true });
        }
        Some(offset)
    }

    fn release(&mut self, offset: u64) {
        let at = self.pieces.binary_search_by_key(&offset, |piece| piece.offset).expect("reserved before");
        self.pieces[at].free = true;
        if self.pieces.get(at + 1).is_some_and(|next| next.free) {
            self.pieces[at].len += self.pieces.remove(at + 1).len;
        }
        if at > 0 && self.pieces[at - 1].free {
            self.pieces[at - 1].len += self.pieces.remove(at).len;
        }
    }

    fn is_empty(&self) -> bool {
        self.pieces.iter().all(|piece| piece.free)
    }
}

/// Pages of one size; those that went back are `None`.
struct Pool {
    page_size: u64,
    pages: Vec<Option<Page>>,
}

impl Pool {
    fn new(page_size: u64) -> Self {
        Self { page_size, pages: Vec::new() }
    }

    /// Page and offset of a new piece, and whether a page was added for it.
    fn reserve(&mut self, len: u64) -> (usize, u64, bool) {
        let held = self.pages.iter_mut().enumerate();
        let found = held.filter_map(|(at, page)| Some((at, page.as_mut()?.reserve(len)?))).next();
        if let Some((at, offset)) = found {
            return (at, offset, false);
        }
        let whole = Piece { offset: 0, len: self.page_size.max(len), free: true };
        let mut page = Page { pieces: vec![whole] };
        let offset = page.reserve(len).expect("the page is large enough");
        self.pages.push(Some(page));
        (self.pages.len() - 1, offset, true)
    }
}

/// The pools of one device.
pub(super) struct Arena {
    /// The pool of small buffers, then one for each page size, the current one last.
    pools: Vec<Pool>,
    /// Largest page that the device has.
    largest_page: u64,
    /// Bytes of all pages.
    pub held: u64,
}

impl Arena {
    pub(super) fn new(largest_page: u64) -> Self {
        Self { pools: vec![Pool::new(SMALL.1), Pool::new(SMALLEST_PAGE)], largest_page, held: 0 }
    }

    pub(super) fn reserve(&mut self, bytes: u64) -> Place {
        let len = bytes.next_multiple_of(ALIGNMENT);
        let pool = if bytes <= SMALL.0 {
            0
        } else {
            if len > self.pools[self.pools.len() - 1].page_size {
                let page = (bytes + SLACK).next_multiple_of(SLACK).min(self.largest_page);
                self.pools.push(Pool::new(page));
                self.return_empty();
            }
            self.pools.len() - 1
        };
        let (page, offset, added) = self.pools[pool].reserve(len);
        if added {
            self.held += self.pools[pool].page_size;
        }
        Place { pool, page, offset }
    }

    pub(super) fn release(&mut self, place: Place) {
        let Place { pool, page, offset } = place;
        self.pools[pool].pages[page].as_mut().expect("held while it is in use").release(offset);
        self.return_empty();
    }

    /// Gives the empty pages of sizes that are outgrown back.
    fn return_empty(&mut self) {
        let current = self.pools.len() - 1;
        for pool in &mut self.pools[1..current] {
            for page in &mut pool.pages {
                if page.as_ref().is_some_and(Page::is_empty) {
                    *page = None;
                    self.held -= pool.page_size;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn buffers_share_pages_and_freed_room_is_used_again() {
        let mut arena = Arena::new(128 * MIB);
        let first = arena.reserve(MIB);
        arena.reserve(MIB / 2);
        assert_eq!(arena.held, 2 * MIB);
        arena.release(first);
        arena.reserve(MIB / 2);
        arena.reserve(MIB / 2);
        assert_eq!(arena.held, 2 * MIB);
        arena.reserve(MIB);
        assert_eq!(arena.held, 4 * MIB);
        arena.reserve(100);
        assert_eq!(arena.held, 12 * MIB, "small buffers have a page of their own");
    }

    #[test]
    fn outgrown_pages_take_nothing_more_and_go_back_empty() {
        let mut arena = Arena::new(128 * MIB);
        let first = arena.reserve(MIB);
        arena.reserve(10 * MIB);
        assert_eq!(arena.held, 13 * MIB, "a page of 2 and one of 11");
        arena.reserve(MIB / 2);
        arena.reserve(MIB);
        assert_eq!(arena.held, 24 * MIB, "the old page has room, but takes nothing");
        arena.release(first);
        assert_eq!(arena.held, 22 * MIB);
        arena.reserve(128 * MIB);
        assert_eq!(arena.held, 150 * MIB, "no page is larger than the device allows");
    }
}
