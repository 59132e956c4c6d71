//! What accounts have reported of those they block (XEP-0377), for the operator.

use presence::reports::{self, Report};
use store::{Batch, Found, StoreError};

use super::{Accounts, now, unavailable};
use crate::admin::Reply;
use crate::admin::reports::{Asked, PAGE};
use crate::failure::Failure;

impl Accounts {
    pub(super) fn reports(&self, asked: &Asked) -> Result<Reply, Failure> {
        match asked {
            Asked::List { after } => {
                let mut found = self.page_of_reports(after.as_deref())?;
                for report in &mut found {
                    report.messages.clear();
                }
                Ok(Reply::Reports(found))
            }
            Asked::Show(id) => Ok(Reply::Reports(vec![self.report(id)?])),
            Asked::Close(id) => {
                let report = Report {
                    closed: Some(now().saturating_mul(1_000)),
                    ..self.report(id)?
                };
                self.write_reports(report.put(Batch::new()))?;
                Ok(Reply::Done)
            }
            Asked::Clear => {
                let mut after: Option<Box<str>> = None;
                loop {
                    let found = self.page_of_reports(after.as_deref())?;
                    let Some(last) = found.last() else {
                        return Ok(Reply::Done);
                    };
                    after = Some(last.id.clone());
                    let closed = found.iter().filter(|report| report.closed.is_some());
                    let batch = closed.fold(Batch::new(), |batch, report| reports::remove(batch, &report.id));
                    if !batch.is_empty() {
                        self.write_reports(batch)?;
                    }
                }
            }
        }
    }

    fn page_of_reports(&self, after: Option<&str>) -> Result<Vec<Report>, Failure> {
        let found = self.store.read_wait(reports::page(after, PAGE)).and_then(Found::rows);
        let rows = found.map_err(|error| unavailable(&error))?;
        Ok(rows.iter().map(|(id, row)| Report::from_row(id, row)).collect())
    }

    fn report(&self, id: &str) -> Result<Report, Failure> {
        let found = self.store.read_wait(reports::get(id)).and_then(Found::row);
        let row = found.map_err(|error: StoreError| unavailable(&error))?;
        let missing = || {
            Failure::failed(format!(
                "there is no report {id}; `jackdaw reports list` prints those that exist"
            ))
        };
        row.map(|row| Report::from_row(id, &row)).ok_or_else(missing)
    }

    fn write_reports(&self, batch: Batch) -> Result<(), Failure> {
        self.store
            .write_wait(batch)
            .map(drop)
            .map_err(|error| unavailable(&error))
    }
}
