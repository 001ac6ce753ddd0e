//! A list that nearly always has one element: that one needs no allocation, and the list is small.
//!
//! Invariant: `rest` is empty unless `first` is there.

use std::ops::Index;
use std::vec;

/// For how many more a list of so many makes room that is full: for as many again, and where it is long for an
/// eighth of those, so that little of it is empty.
pub(crate) fn room(len: usize) -> usize {
    len.clamp(4, 4096).max(len / 8)
}

/// Elements in their order; the first lies inline.
#[derive(Clone, Debug)]
pub(crate) struct Few<T> {
    first: Option<T>,
    /// In a box, as it is nearly never there: one word, where a `Vec` is three.
    #[expect(clippy::box_collection, reason = "see above")]
    rest: Option<Box<Vec<T>>>,
}

impl<T> Few<T> {
    pub(crate) const fn new() -> Few<T> {
        Few { first: None, rest: None }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest().len()
    }

    #[inline]
    pub(crate) fn push(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.rest.get_or_insert_default().push(item);
        }
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.rest())
    }

    /// All but the first.
    #[inline]
    fn rest(&self) -> &[T] {
        self.rest.as_ref().map_or(&[], |rest| rest)
    }

    /// Takes out all elements and keeps the memory for others.
    #[inline]
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        let rest = self.rest.as_mut().map(|rest| rest.drain(..));
        self.first.take().into_iter().chain(rest.into_iter().flatten())
    }

    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(&T) -> bool) {
        if let Some(rest) = &mut self.rest {
            rest.retain(&mut keeps);
        }
        if self.first.as_ref().is_some_and(|first| !keeps(first)) {
            let rest = self.rest.as_mut().filter(|rest| !rest.is_empty());
            self.first = rest.map(|rest| rest.remove(0));
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Few<T> {
        Few::new()
    }
}

impl<T> Index<usize> for Few<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        match (index, &self.first) {
            (0, Some(first)) => first,
            _ => &self.rest()[index.wrapping_sub(1)],
        }
    }
}

impl<T> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Few<T> {
        let mut few = Few::new();
        few.extend(items);
        few
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest.map(|rest| *rest).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn few(count: usize) -> Few<usize> {
        let mut few = Few::new();
        few.extend(0..count);
        few
    }

    #[test]
    fn a_list_that_is_long_has_little_room() {
        let mut capacity = 0;
        for len in 0..1_000_000 {
            if len == capacity {
                capacity += room(len);
            }
            let most = if len < 4096 { 2 * len + 4 } else { len + (len / 8).max(4096) };
            assert!(capacity > len && capacity <= most, "{capacity} for {len}");
        }
    }

    #[test]
    fn it_does_what_a_vec_does() {
        for count in 0..5 {
            let vec: Vec<_> = (0..count).collect();
            let mut pushed = Few::new();
            (0..count).for_each(|item| pushed.push(item));
            for few in [few(count), pushed, few(count).clone()] {
                assert_eq!((few.len(), few.is_empty()), (vec.len(), vec.is_empty()));
                assert!((0..count).all(|index| few[index] == index));
                assert_eq!(few.iter().copied().collect::<Vec<_>>(), vec);
                assert_eq!(few.into_iter().collect::<Vec<_>>(), vec);
            }
            for kept in 0..1 << count {
                let (mut few, mut vec) = (few(count), vec.clone());
                let keeps = |item: &usize| kept >> item & 1 == 1;
                few.retain(keeps);
                vec.retain(keeps);
                assert_eq!(few.iter().copied().collect::<Vec<_>>(), vec);
                few.push(9);
                assert_eq!((few[few.len() - 1], few.len()), (9, vec.len() + 1));
                assert_eq!(few.drain().count(), vec.len() + 1);
                assert!(few.is_empty());
            }
        }
    }
}
