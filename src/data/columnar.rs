//! Parquet as rows: flat columns as values, lists and structs as JSON has them. Reads one row at a time.

use parquet::errors::ParquetError;
use parquet::file::reader::SerializedFileReader;
use parquet::record::{Field, Row, reader::RowIter};
use serde_json::{Number, Value};

use super::record::{Record, Visit};
use super::source::Source;
use crate::error::{Error, Result};
use crate::panics;

/// Reads all rows. Behind damage nothing can be read, so it stops even where bad rows are skipped.
pub(crate) fn read(source: &Source, visit: &mut Visit) -> Result<()> {
    let broken = |place: String, reason: String| {
        Error::input(format!(
            "{place} cannot be read as Parquet: {reason}; if the file is whole, convert it to JSON Lines or CSV"
        ))
    };
    let mut rows = guarded(|| {
        let reader = SerializedFileReader::new(source.shared_bytes())?;
        Ok(RowIter::from_file_into(Box::new(reader)))
    })
    .map_err(|reason| broken(source.name().to_string(), reason))?;
    let mut number = 0;
    loop {
        number += 1;
        match guarded(|| rows.next().transpose()) {
            Ok(Some(row)) => visit(number, Ok(record(row)))?,
            Ok(None) => return Ok(()),
            Err(reason) => return Err(broken(source.place(number), reason)),
        }
    }
}

/// Does one step of reading. The library panics on some damaged files, and on types it has no row for.
fn guarded<T>(step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    let reason = match panics::caught(step) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it is damaged, or has a column of a type that is not supported".to_string(),
    };
    Err(reason.lines().next().unwrap_or_default().to_string())
}

fn record(row: Row) -> Record {
    row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect()
}

fn value(field: Field) -> Value {
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float16(value) => float(value.into()),
        Field::Float(value) => float(value.into()),
        Field::Double(value) => float(value),
        Field::Str(text) => text.into(),
        // Some programs write text without saying that it is text; other bytes are nothing to learn from.
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).map_or(Value::Null, Value::from),
        Field::Group(row) => Value::Object(record(row)),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        Field::MapInternal(map) => {
            let name = |key: &Field| match key {
                Field::Str(text) => text.clone(),
                other => other.to_string(),
            };
            map.entries().iter().map(|(key, field)| (name(key), value(field.clone()))).collect()
        }
        other @ (Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_)) => other.to_string().into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    use parquet::schema::parser::parse_message_type;
    use serde_json::json;

    use super::super::classify::ClassifySettings;
    use super::super::dataset::Dataset;
    use super::super::records;
    use super::super::settings::{DataSettings, DataTask};
    use super::super::testing::{byte_level_tokenizer, chat_tokenizer};
    use super::*;
    use crate::rng::Stream;

    /// The values of a column, with definition and repetition levels where they are nulls and lists.
    pub(crate) enum Column<'a> {
        Text(&'a [&'a str], &'a [i16], &'a [i16]),
        Long(&'a [i64], &'a [i16]),
        Double(&'a [f64]),
        Bool(&'a [bool]),
    }

    /// A file of one row group.
    pub(crate) fn file(schema: &str, columns: &[Column], compression: Compression) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(schema).expect("schema"));
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let mut bytes = Vec::new();
        let mut file = SerializedFileWriter::new(&mut bytes, schema, properties).expect("writer");
        let mut group = file.next_row_group().expect("row group");
        for column in columns {
            let mut writer = group.next_column().expect("column").expect("one more column");
            let levels = |levels: &'_ [i16]| (!levels.is_empty()).then(|| levels.to_vec());
            let written = match column {
                Column::Text(values, definition, repetition) => {
                    let values: Vec<ByteArray> = values.iter().map(|&text| text.into()).collect();
                    let (definition, repetition) = (levels(definition), levels(repetition));
                    writer.typed::<ByteArrayType>().write_batch(&values, definition.as_deref(), repetition.as_deref())
                }
                Column::Long(values, definition) => {
                    writer.typed::<Int64Type>().write_batch(values, levels(definition).as_deref(), None)
                }
                Column::Double(values) => writer.typed::<DoubleType>().write_batch(values, None, None),
                Column::Bool(values) => writer.typed::<BoolType>().write_batch(values, None, None),
            };
            written.expect("values");
            writer.close().expect("column");
        }
        group.close().expect("row group");
        file.close().expect("file");
        bytes
    }

    const FLAT: &str = "message rows { required binary text (UTF8); optional int64 label; required double score; \
        required boolean good; required binary raw; }";

    fn flat(compression: Compression) -> Vec<u8> {
        let columns = [
            Column::Text(&["ab", "é"], &[], &[]),
            Column::Long(&[7], &[1, 0]),
            Column::Double(&[0.5, f64::NAN]),
            Column::Bool(&[true, false]),
            Column::Text(&["raw", "\u{fffd}"], &[], &[]),
        ];
        file(FLAT, &columns, compression)
    }

    const TALK: &str = "message rows { optional group messages (LIST) { repeated group list { optional group element { \
        optional binary role (UTF8); optional binary content (UTF8); } } } }";

    fn talk() -> Vec<u8> {
        let (definition, repetition) = (&[4, 4, 4, 4], &[0, 1, 0, 1]);
        let columns = [
            Column::Text(&["user", "assistant", "user", "assistant"], definition, repetition),
            Column::Text(&["a", "b", "c", "d"], definition, repetition),
        ];
        file(TALK, &columns, Compression::SNAPPY)
    }

    fn classified(labels: &[i64]) -> Vec<u8> {
        let texts: Vec<&str> = labels.iter().map(|_| "some text").collect();
        let schema = "message rows { required binary text (UTF8); required int64 label; }";
        file(schema, &[Column::Text(&texts, &[], &[]), Column::Long(labels, &[])], Compression::UNCOMPRESSED)
    }

    fn rows(bytes: Vec<u8>) -> Result<Vec<(usize, Record)>> {
        let source = Source::from_bytes("rows.parquet", bytes)?;
        let mut found = Vec::new();
        records::read(&source, &mut |line, row| {
            found.push((line, row.expect("a row")));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn flat_columns_are_values_whatever_the_compression() {
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(Default::default()),
            Compression::ZSTD(Default::default()),
        ] {
            let found = rows(flat(compression)).expect("rows");
            let row = |index: usize| Value::Object(found[index].1.clone());
            assert_eq!(row(0), json!({"text": "ab", "label": 7, "score": 0.5, "good": true, "raw": "raw"}));
            assert_eq!(row(1), json!({"text": "é", "label": null, "score": null, "good": false, "raw": "\u{fffd}"}));
            assert_eq!((found[0].0, found[1].0, found.len()), (1, 2, 2));
        }
    }

    #[test]
    fn conversations_are_read_as_from_json() {
        let load = |name: &str, bytes: Vec<u8>| {
            let source = Source::from_bytes(name.to_string(), bytes).expect("source");
            Dataset::from_sources(source, None, &DataSettings::default(), &chat_tokenizer()).expect("data")
        };
        let json = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \
            \"b\"}]}\n{\"messages\": [{\"role\": \"user\", \"content\": \"c\"}, {\"role\": \"assistant\", \"content\": \
            \"d\"}]}";
        let (one, other) = (load("rows.parquet", talk()), load("rows.jsonl", json.as_bytes().to_vec()));
        assert_eq!((one.train.len(), one.train.row(1)), (2, other.train.row(1)));
        assert_eq!(one.report.train.format, "{messages}");
    }

    #[test]
    fn a_folder_of_parquet_is_found_and_its_rows_named() {
        let folder = tempfile::tempdir().expect("temp folder");
        std::fs::write(folder.path().join("train.parquet"), classified(&[3, -1, 3])).expect("write");
        std::fs::write(folder.path().join("validation.parquet"), classified(&[3, 4])).expect("write");
        let task = DataTask::Classify(ClassifySettings::default());
        let mut settings = DataSettings { data: folder.path().to_path_buf(), task, ..DataSettings::default() };
        let Err(error) = Dataset::load(&settings, &byte_level_tokenizer()) else { panic!("must fail") };
        assert!(error.to_string().contains("validation.parquet row 2: the label \"4\" does not come"), "{error}");
        settings.skip_bad_rows = true;
        let dataset = Dataset::load(&settings, &byte_level_tokenizer()).expect("data");
        assert_eq!(dataset.classes, ["-1", "3"]);
        assert_eq!(dataset.train.class_counts(), [1, 2]);
    }

    #[test]
    fn columns_that_mean_nothing_are_listed() {
        let bytes = file(
            "message rows { required binary body (UTF8); required boolean good; }",
            &[Column::Text(&["a"], &[], &[]), Column::Bool(&[true])],
            Compression::UNCOMPRESSED,
        );
        let source = Source::from_bytes("rows.parquet", bytes).expect("source");
        let tokenizer = byte_level_tokenizer();
        let Err(error) = Dataset::from_sources(source, None, &DataSettings::default(), &tokenizer) else {
            panic!("must fail")
        };
        assert!(
            error.to_string().starts_with("rows.parquet row 1: found only body, good: a row needs text"),
            "{error}"
        );
    }

    #[test]
    fn damage_is_one_sentence() {
        let whole = flat(Compression::UNCOMPRESSED);
        for bytes in [b"PAR1....".to_vec(), b"PAR1".to_vec(), whole[..whole.len() - 9].to_vec()] {
            let error = rows(bytes).expect_err("damaged").to_string();
            assert!(error.starts_with("rows.parquet cannot be read as Parquet: "), "{error}");
        }
        let mut bytes = whole;
        bytes[4..40].fill(0xff);
        let error = rows(bytes).expect_err("damaged").to_string();
        assert!(error.starts_with("rows.parquet row 1 cannot be read as Parquet: "), "{error}");
    }

    #[test]
    fn random_damage_never_panics() {
        let whole = [flat(Compression::SNAPPY), flat(Compression::UNCOMPRESSED), talk(), classified(&[1, 2, 3])];
        let tokenizer = chat_tokenizer();
        let mut read = [0; 2];
        for seed in 0..1500 {
            let mut stream = Stream::new(seed, "damage");
            let mut bytes = whole[stream.below(whole.len() as u64) as usize].clone();
            for _ in 0..=stream.below(3) {
                let at = 4 + stream.below(bytes.len() as u64 - 4) as usize;
                match stream.below(4) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, stream.bits() as u8),
                    _ => bytes[at] = stream.bits() as u8,
                }
                if bytes.len() < 8 {
                    break;
                }
            }
            for task in [DataTask::LanguageModel, DataTask::Classify(ClassifySettings::default())] {
                let settings = DataSettings { task, ..DataSettings::default() };
                let source = Source::from_bytes("rows.parquet", bytes.clone()).expect("source");
                let dataset = Dataset::from_sources(source, None, &settings, &tokenizer);
                read[usize::from(dataset.is_ok())] += 1;
            }
        }
        assert!(read.iter().all(|&count| count > 100), "{read:?}: the test has lost its point");
    }
}
