//! What a store would answer if a batch that is being made were in it already.
//!
//! A change that is put together in several steps asks the store between them, and the store knows nothing yet of the
//! steps before.

use crate::{Batch, Found, Keys, Op, PAGE_LIMIT, Query, Row, Value};

impl Batch {
    /// `found`, the store's answer to `query`, as it would be behind this batch: for [`Query::Get`], [`Query::All`],
    /// [`Query::Keys`] and these in a [`Query::Many`]. Other answers stay as they are.
    ///
    /// Of keys with a limit, rows that the batch deletes are not replaced by those that stand behind the limit.
    #[must_use]
    pub fn over(&self, query: &Query, found: Found) -> Found {
        match (query, found) {
            (Query::Many(queries), Found::Many(answers)) => {
                let answers = queries.iter().zip(answers);
                Found::Many(answers.map(|(query, found)| self.over(query, found)).collect())
            }
            (Query::Get { table, owner, key }, Found::Row(row)) => {
                let is_meant = |other: &Option<Box<str>>| other == key;
                let mut row = row;
                for op in &self.ops {
                    match op.on(table.name, owner) {
                        On::Row(other, new) if is_meant(other) => row = new.cloned(),
                        On::Sum(other, added) if is_meant(other) => row = Some(sum(row.as_ref(), added)),
                        On::AllRows => row = None,
                        On::Prefix(prefix) if key.as_ref().is_some_and(|key| key.starts_with(prefix)) => row = None,
                        _ => {}
                    }
                }
                Found::Row(row)
            }
            (Query::All { table, owner }, Found::Rows(rows)) => {
                Found::Rows(self.over_rows(table.name, owner, rows, |_| true))
            }
            (Query::Keys(keys), Found::Rows(rows)) => Found::Rows(self.over_keys(keys, rows)),
            (_, found) => found,
        }
    }

    fn over_keys(&self, keys: &Keys, rows: Vec<(Box<str>, Row)>) -> Vec<(Box<str>, Row)> {
        let Some((from, to)) = keys.bounds() else { return rows };
        let is_part = |key: &str| *from <= *key && *key < *to;
        let mut rows = self.over_rows(keys.table.name, &keys.owner, rows, is_part);
        let limit = keys.limit.min(PAGE_LIMIT);
        if keys.last {
            rows.drain(..rows.len().saturating_sub(limit));
        } else {
            rows.truncate(limit);
        }
        rows
    }

    fn over_rows(
        &self,
        table: &str,
        owner: &str,
        mut rows: Vec<(Box<str>, Row)>,
        is_part: impl Fn(&str) -> bool,
    ) -> Vec<(Box<str>, Row)> {
        for op in &self.ops {
            match op.on(table, owner) {
                On::Row(Some(key), new) if is_part(key) => {
                    let place = rows.binary_search_by(|(other, _)| other.cmp(key));
                    match (place, new) {
                        (Ok(place), Some(row)) => rows[place].1 = row.clone(),
                        (Ok(place), None) => drop(rows.remove(place)),
                        (Err(place), Some(row)) => rows.insert(place, (key.clone(), row.clone())),
                        (Err(_), None) => {}
                    }
                }
                On::Sum(Some(key), added) if is_part(key) => {
                    let place = rows.binary_search_by(|(other, _)| other.cmp(key));
                    match place {
                        Ok(place) => rows[place].1 = sum(Some(&rows[place].1), added),
                        Err(place) => rows.insert(place, (key.clone(), added.clone())),
                    }
                }
                On::AllRows => rows.clear(),
                On::Prefix(prefix) => rows.retain(|(key, _)| !key.starts_with(prefix)),
                _ => {}
            }
        }
        rows
    }
}

fn sum(old: Option<&Row>, added: &Row) -> Row {
    let number = |value: Option<&Value>| value.and_then(Value::as_int).unwrap_or_default();
    let old = |at: usize| number(old.and_then(|old| old.get(at)));
    let sums = added.iter().enumerate();
    sums.map(|(at, added)| Value::Int(old(at).saturating_add(number(Some(added)))))
        .collect()
}

/// What an op does to the rows of an owner in a table.
enum On<'o> {
    Nothing,
    /// This is what stands there then.
    Row(&'o Option<Box<str>>, Option<&'o Row>),
    /// This was added to it.
    Sum(&'o Option<Box<str>>, &'o Row),
    /// They are gone.
    AllRows,
    Prefix(&'o str),
}

impl Op {
    fn on(&self, wanted: &str, whose: &str) -> On<'_> {
        match self {
            Op::Put { table, owner, key, row } | Op::Insert { table, owner, key, row }
                if table.name == wanted && **owner == *whose =>
            {
                On::Row(key, Some(row))
            }
            Op::Add { table, owner, key, row } if table.name == wanted && **owner == *whose => On::Sum(key, row),
            Op::Delete { table, owner, key } if table.name == wanted && **owner == *whose => match key {
                None => On::AllRows,
                Some(_) => On::Row(key, None),
            },
            Op::DeleteKeys { table, owner, prefix } if table.name == wanted && **owner == *whose => On::Prefix(prefix),
            Op::Forget { owner } if **owner == *whose => On::AllRows,
            _ => On::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Batch, Column, Keys, Memory, Query, Shape, Store, Table, row};

    static MAP: Table = Table {
        name: "map",
        shape: Shape::Map,
        columns: &[Column::int("number")],
    };
    static ONE: Table = Table {
        name: "one",
        shape: Shape::KeyVal,
        columns: &[Column::int("number")],
    };

    /// Every question is answered over the batch as behind it.
    #[test]
    fn an_answer_over_a_batch_is_the_one_behind_it() {
        let mut before = Batch::new().put(&ONE, "a", None, row![1]).put(&ONE, "b", None, row![1]);
        for key in ["a1", "a2", "a3", "b1", "b2", "c"] {
            before = before.put(&MAP, "a", key, row![1]).put(&MAP, "b", key, row![1]);
        }
        let batches = [
            Batch::new(),
            Batch::new().put(&ONE, "a", None, row![2]).put(&ONE, "a", None, row![3]),
            Batch::new().delete(&ONE, "a", None),
            Batch::new().delete(&ONE, "a", None).insert(&ONE, "a", None, row![4]),
            Batch::new().put(&MAP, "a", "a0", row![2]).put(&MAP, "a", "a9", row![2]),
            Batch::new().put(&MAP, "a", "a2", row![2]).delete(&MAP, "a", "b1"),
            Batch::new().delete_keys(&MAP, "a", "b").put(&MAP, "a", "b3", row![2]),
            Batch::new().delete(&MAP, "a", None).put(&MAP, "a", "b3", row![2]),
            Batch::new().put(&MAP, "b", "a2", row![2]).forget("a"),
            Batch::new()
                .add(&MAP, "a", "a2", row![2])
                .add(&MAP, "a", "a0", row![2])
                .add(&ONE, "a", None, row![5]),
        ];
        let keys = |prefix: &str, limit| Keys::of(&MAP, "a", prefix, limit);
        let last = |prefix: &str, limit| Keys {
            last: true,
            ..keys(prefix, limit)
        };
        let mut queries = vec![
            Query::get(&ONE, "a", None),
            Query::get(&ONE, "b", None),
            Query::all(&MAP, "a"),
            Query::all(&MAP, "b"),
        ];
        for key in ["a0", "a2", "b1", "b3", "c"] {
            queries.push(Query::get(&MAP, "a", key));
        }
        queries.extend([keys("a", 100), keys("b", 100), last("a", 100)].map(Query::keys));
        let between = Keys {
            after: Some("a1".into()),
            before: Some("a9".into()),
            ..keys("a", 100)
        };
        queries.push(Query::keys(between));
        for batch in batches {
            let store = Memory::new(&[&MAP, &ONE]);
            store.write_wait(before.clone()).expect("written");
            let mut queries = queries.clone();
            // These are cut.
            if batch
                .ops
                .iter()
                .all(|op| matches!(op, crate::Op::Put { .. } | crate::Op::Insert { .. }))
            {
                queries.extend([keys("a", 2), last("a", 2), keys("b", 1)].map(Query::keys));
            }
            let query = Query::Many(queries);
            let over = batch.over(&query, store.read_wait(query.clone()).expect("read"));
            store.write_wait(batch.clone()).expect("written");
            assert_eq!(over, store.read_wait(query).expect("read"), "{batch:?}");
        }
    }
}
