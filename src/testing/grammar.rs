//! The path grammar, written a second time, from the contract and not from `path.rs`.

use crate::{Limits, PathError};

/// The names in `text`, for a walk that starts at `start` levels below the root.
///
/// # Errors
/// The first thing wrong from the left; in one component a forbidden byte comes before the rest. The
/// length of the text is tested first, the depth last.
pub fn reference_parse<'a>(
    text: &'a [u8],
    start: usize,
    limits: &Limits,
) -> Result<Vec<&'a [u8]>, PathError> {
    if text.len() > limits.path_bytes {
        return Err(PathError::PathTooLong { len: text.len(), limit: limits.path_bytes });
    }
    let mut names = Vec::new();
    let mut offset = 0;
    for component in text.split(|&byte| byte == b'/') {
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        if let Some(at) = component.iter().position(|&byte| !allowed(byte)) {
            return Err(PathError::BadByte { byte: component[at], offset: offset + at });
        }
        if component == b".." {
            return Err(PathError::DotDot { offset });
        }
        if !component.is_empty() && component != b"." {
            let (len, limit) = (component.len(), limits.name_bytes);
            if len > limit {
                return Err(PathError::NameTooLong { offset, len, limit });
            }
            names.push(component);
        }
        offset += component.len() + 1;
    }
    let depth = start + names.len();
    if !names.is_empty() && depth > limits.depth {
        return Err(PathError::TooDeep { depth, limit: limits.depth });
    }
    Ok(names)
}
