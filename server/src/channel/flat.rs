//! Drops what may lead to more drops of its kind without going deeper on the stack.

use std::any::Any;
use std::cell::RefCell;

thread_local! {
    /// What is to be dropped after that which is being dropped on this thread; nothing is, without a list.
    static LATER: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// Drops `what`, at once; or, if that is called from the drop of another, after that one.
pub(super) fn drop_flat(what: impl Any) {
    let first = LATER.try_with(|later| later.borrow_mut().replace(Vec::new()));
    match first {
        // The outermost: drops until nothing has come.
        Ok(None) => {
            let _end = End;
            let mut next: Option<Box<dyn Any>> = Some(Box::new(what));
            while let Some(one) = next {
                drop(one);
                next = LATER.with_borrow_mut(|later| later.as_mut().and_then(Vec::pop));
            }
        }
        Ok(Some(mut list)) => {
            list.push(Box::new(what));
            LATER.with_borrow_mut(|later| *later = Some(list));
        }
        // The thread ends.
        Err(_) => drop(what),
    }
}

/// The outermost drop has ended, perhaps by a panic.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let left = LATER.with_borrow_mut(Option::take);
        drop(left);
    }
}
