//! What a path is, and what the errors say.

use crate::tests::tree;
use crate::{PathError, StoreAtError, WalkError};

#[test]
fn spellings_that_differ_in_empty_components_and_dots_name_one_node() {
    let (_tree, root) = tree();
    let a = root.walk("a").unwrap();
    for text in ["a", "/a", "//a", "a/", "a//", "./a", "a/.", "/./a/./", "//././/a//.//"] {
        assert_eq!(root.walk(text).unwrap(), a, "{text}");
        assert_eq!(root.lookup(text).unwrap().unwrap(), a, "{text}");
    }
    let ab = a.walk("b").unwrap();
    for text in ["a/b", "/a/b", "a//b", "a/./b", "//a/./b/"] {
        assert_eq!(root.walk(text).unwrap(), ab, "{text}");
    }
}

#[test]
fn texts_without_a_name_are_the_anchor_itself() {
    let (tree, root) = tree();
    let deep = root.walk("a/b").unwrap();
    for text in ["", "/", "//", ".", "./", "/.", "././/."] {
        for anchor in [&root, &deep] {
            assert_eq!(anchor.walk(text).unwrap(), *anchor, "{text}");
            assert_eq!(anchor.lookup(text).unwrap().unwrap(), *anchor, "{text}");
        }
    }
    assert_eq!(tree.nodes(), 3, "no node was made for them");
}

#[test]
fn a_leading_slash_does_not_lead_to_the_root() {
    let (_tree, root) = tree();
    let a = root.walk("a").unwrap();
    let below = a.walk("/b").unwrap();
    assert_eq!(root.lookup("a/b").unwrap().unwrap(), below);
    assert_eq!(root.lookup("b").unwrap(), None);
}

#[test]
fn names_that_only_look_special_are_ordinary() {
    let (_tree, root) = tree();
    for name in ["...", ".a", "a.", "a..b", "..a", "a..", "%2F", "~", "!", "-", "*", "$HOME", "a:b"]
    {
        let anchor = root.walk(name).unwrap();
        assert_eq!(anchor.name(), name);
        assert_eq!(root.ls(), [anchor]);
    }
}

#[test]
fn every_printable_byte_but_slash_and_backslash_is_a_name() {
    let (tree, root) = tree();
    for byte in 0..=u8::MAX {
        let allowed = (0x21..=0x7E).contains(&byte) && !b"/\\.".contains(&byte);
        match root.walk([byte]) {
            Ok(anchor) if allowed => assert_eq!(anchor.name().as_bytes(), [byte]),
            Ok(anchor) => assert!(b"/.".contains(&byte) && anchor == root, "0x{byte:02x}"),
            Err(error) => {
                assert!(!allowed, "0x{byte:02x}");
                assert_eq!(error, WalkError::Path(PathError::BadByte { byte, offset: 0 }));
            }
        }
    }
    assert_eq!(tree.nodes(), 1);
}

#[test]
fn a_forbidden_byte_is_named_with_its_offset() {
    let (_tree, root) = tree();
    let cases: [(&[u8], u8, usize); 8] = [
        (b" a", b' ', 0),
        (b"a b", b' ', 1),
        (b"a/b\\c", b'\\', 3),
        (b"a/b/c\x7f", 0x7f, 5),
        (b"//a//\x00", 0, 5),
        (b"a/\xc3\xa9", 0xc3, 2),
        (b"a\n", b'\n', 1),
        (b"a/b\t/../c", b'\t', 3),
    ];
    for (text, byte, offset) in cases {
        let expected = PathError::BadByte { byte, offset };
        assert_eq!(root.walk(text), Err(WalkError::Path(expected)), "{text:?}");
        assert_eq!(root.lookup(text), Err(expected), "{text:?}");
    }
}

#[test]
fn dot_dot_is_an_error_with_its_offset_and_never_a_way_up() {
    let (tree, root) = tree();
    let a = root.walk("a").unwrap();
    let cases = [("..", 0), ("../a", 0), ("/..", 1), ("a/..", 2), ("a/../b", 2), ("a/./..//b", 4)];
    for (text, offset) in cases {
        let expected = PathError::DotDot { offset };
        assert_eq!(a.walk(text), Err(WalkError::Path(expected)), "{text}");
        assert_eq!(a.lookup(text), Err(expected), "{text}");
    }
    assert_eq!(tree.nodes(), 2);
}

#[test]
fn every_operation_by_path_refuses_a_bad_one_alike() {
    let (_tree, root) = tree();
    let expected = PathError::DotDot { offset: 2 };
    assert_eq!(root.load_at("a/..").unwrap_err(), expected);
    assert_eq!(root.load_at_with("a/..", |_, _| ()).unwrap_err(), expected);
    match root.store_at("a/..", None, true) {
        Err(StoreAtError::Walk(error, None)) => assert_eq!(error, WalkError::Path(expected)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_say_which_byte_where_or_which_limit() {
    let (_tree, root) = tree();
    let says = |text: &[u8]| root.walk(text).unwrap_err().to_string();
    assert_eq!(says(b"a b"), "byte 0x20 (space) at offset 1 is not allowed in a name");
    assert_eq!(says(b"a\\"), "byte 0x5c (backslash) at offset 1 is not allowed in a name");
    assert_eq!(says(b"a\xff"), "byte 0xff at offset 1 is not allowed in a name");
    assert_eq!(says(b"a/.."), "component '..' at offset 2: there is no way up");
    let (long, limit) = ([b'n'; 256], 255);
    let text = format!("name of 256 bytes at offset 0 exceeds the limit of {limit}");
    assert_eq!(says(&long), text);
}
