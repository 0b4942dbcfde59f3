//! Znodes nested deeper than a stack.

use ostler_tree::cut::Chunk;
use ostler_tree::{Tree, TreeConfig};
use wire::txn::{CreateTxn, Txn, TxnEntry, TxnHeader};
use wire::{AclVec, OpCode, SessionId, Xid, Zxid};

#[test]
fn a_deep_path_needs_no_deep_stack() {
    const DEPTH: i64 = 3000;
    let on_a_small_stack = std::thread::Builder::new().stack_size(96 * 1024).spawn(|| {
        let mut tree = Tree::new(TreeConfig::default());
        let mut path = String::new();
        for zxid in 1..=DEPTH {
            path.push_str("/d");
            let header =
                TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: Zxid(zxid), time_ms: 0, op: OpCode::Create };
            let txn = Txn::Create(CreateTxn {
                path: Some(path.as_str().into()),
                data: None,
                acl: AclVec::OPEN,
                ephemeral: zxid == DEPTH,
                parent_cversion: -1,
            });
            tree.apply(&TxnEntry { header, txn, digest: None }, &mut Vec::new());
        }
        let deepest: Vec<String> = tree.ephemerals(SessionId(1)).map(ostler_tree::NodeRef::path).collect();
        assert_eq!(deepest, [path.clone()]);
        tree.begin_cut(Vec::new(), 1 << 20);
        let mut longest = 0;
        while tree.read_cut(1 << 16, |node| longest = longest.max(node.path.len())) == Chunk::More {}
        assert_eq!(longest, path.len());
        tree.hash_state(&mut std::hash::DefaultHasher::new());
    });
    on_a_small_stack.unwrap().join().unwrap();
}
