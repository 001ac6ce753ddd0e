//! The names of scopes. Those of one name have one copy of it, since most scopes are one of many: a
//! server's connections.

use std::borrow::Cow;
use std::ptr;
use std::sync::Arc;

use super::Owner;

/// What all scopes of a program share that have the same name, or many of them.
pub(crate) struct Named {
    pub(super) owner: Arc<Owner>,
    pub(super) name: Cow<'static, str>,
}

/// The names that scopes of a program have had last, under the program's lock. They keep their owner until
/// they are dropped.
#[derive(Default)]
pub(crate) struct Names([Option<Arc<Named>>; Names::PLACES]);

impl Named {
    pub(crate) fn new(owner: Arc<Owner>, name: Cow<'static, str>) -> Arc<Named> {
        Arc::new(Named { owner, name })
    }
}

impl Names {
    const PLACES: usize = 8;

    /// The place that a name has, which it may share with others.
    fn place(name: &str) -> usize {
        let last = name.as_bytes().last().map_or(0, |last| usize::from(*last));
        (last + name.len()) % Names::PLACES
    }

    /// Returns the name as others have it, or from now on.
    pub(crate) fn share(&mut self, owner: &Arc<Owner>, name: Cow<'static, str>) -> Arc<Named> {
        let place = &mut self.0[Names::place(&name)];
        match place {
            Some(named) if is_same(&named.name, &name) => named.clone(),
            _ => place.insert(Named::new(owner.clone(), name)).clone(),
        }
    }
}

fn is_same(name: &str, other: &str) -> bool {
    // Most names are literals, and the same one.
    ptr::eq(name, other) || name == other
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::phase::Event;
    use crate::tests::nowhere::program;
    use crate::track::node::Node;

    #[test]
    fn scopes_of_one_name_share_it_and_others_do_not() {
        let program = program(false);
        let root = program.root();
        let open = |name: &str| program.open(&root, name.to_owned().into(), &[]);
        let at = |node: &Node| node.name().as_ptr();
        let (one, two) = (open("connection"), open("connection"));
        assert_eq!((one.name(), at(&one)), ("connection", at(&two)));
        // More than there are places, some of which have the same.
        let mut others: Vec<_> = (0..50).map(|number| open(&format!("name {number}"))).collect();
        others.push(open(""));
        for (number, node) in others[..50].iter().enumerate() {
            assert_eq!(node.name(), format!("name {number}"));
        }
        assert_eq!((others[50].name(), one.name()), ("", "connection"));
        program.event(Event::Force);
        program.conclude();
        // Who has a scope of a program that is over may still open one below it.
        assert_eq!(program.open(&one, "late".into(), &[]).name(), "late");
        drop((root, one, two, others));
        let left = Arc::downgrade(&program);
        drop(program);
        assert_eq!(left.strong_count(), 0, "no name keeps it");
    }
}
