//! Label selectors: a small language of its own. Pure.
//!
//! In: text such as `app in (a,b),!old`. Out: [`Requirement`]s, all of which must hold.

use std::fmt::Write as _;

use serde_json::Value;

/// What a selector asks of one label.
#[derive(Clone, Debug)]
pub(super) struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

// === impl Requirement ===

impl Requirement {
    /// Whether the labels are as asked.
    pub(super) fn matches(&self, labels: &Value) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        let number = value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(wanted) => value.is_some_and(|value| wanted.iter().any(|one| one == value)),
            Test::NotIn(banned) => {
                !value.is_some_and(|value| banned.iter().any(|one| one == value))
            }
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Greater(limit) => number.is_some_and(|number| number > *limit),
            Test::Less(limit) => number.is_some_and(|number| number < *limit),
        }
    }
}

/// A word, or one of the signs of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(&'static str),
    End,
}

struct Tokens {
    tokens: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }
}

fn tokens(text: &str) -> Vec<Token> {
    const SIGNS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(&sign) = SIGNS.iter().find(|&&sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = rest[sign.len()..].trim_start();
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || "=!(),><".contains(c))
                .unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = rest[end..].trim_start();
        }
    }
    tokens
}

fn shown(token: &Token) -> &str {
    match token {
        Token::Word(word) => word,
        Token::Sign(sign) => sign,
        Token::End => "",
    }
}

/// Reads a label selector.
pub(super) fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut tokens = Tokens {
        tokens: tokens(text),
        at: 0,
    };
    let mut requirements = Vec::new();
    while *tokens.peek() != Token::End {
        let requirement = parse_requirement(&mut tokens)
            .map_err(|problem| format!("unable to parse requirement: {problem}"))?;
        requirements.push(requirement);
        match tokens.next() {
            Token::End => break,
            Token::Sign(",") => match tokens.peek() {
                Token::Word(_) | Token::Sign("!") => {}
                other @ (Token::Sign(_) | Token::End) => {
                    return Err(format!(
                        "found '{}', expected: identifier after ','",
                        shown(other)
                    ));
                }
            },
            other @ (Token::Word(_) | Token::Sign(_)) => {
                return Err(format!(
                    "found '{}', expected: ',' or 'end of string'",
                    shown(&other)
                ));
            }
        }
    }
    Ok(requirements)
}

fn parse_requirement(tokens: &mut Tokens) -> Result<Requirement, String> {
    let is_negated = *tokens.peek() == Token::Sign("!");
    if is_negated {
        tokens.next();
    }
    let key = match tokens.next() {
        Token::Word(word) => word,
        other @ (Token::Sign(_) | Token::End) => {
            return Err(format!("found '{}', expected: identifier", shown(&other)));
        }
    };
    check_key(&key)?;
    if is_negated {
        return Ok(Requirement {
            key,
            test: Test::Absent,
        });
    }
    if matches!(tokens.peek(), Token::End | Token::Sign(",")) {
        return Ok(Requirement {
            key,
            test: Test::Exists,
        });
    }
    let operator = tokens.next();
    let test = match shown(&operator) {
        "in" => Test::In(parse_set(tokens)?),
        "notin" => Test::NotIn(parse_set(tokens)?),
        "=" | "==" => Test::In(vec![parse_value(tokens)?]),
        "!=" => Test::NotIn(vec![parse_value(tokens)?]),
        ">" | "gt" => Test::Greater(parse_number(tokens, "Gt")?),
        "<" | "lt" => Test::Less(parse_number(tokens, "Lt")?),
        other => {
            return Err(format!(
                "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
            ));
        }
    };
    check_values(&key, &test)?;
    Ok(Requirement { key, test })
}

fn parse_value(tokens: &mut Tokens) -> Result<String, String> {
    match tokens.peek() {
        Token::End | Token::Sign(",") => Ok(String::new()),
        Token::Word(_) => Ok(shown(&tokens.next()).to_owned()),
        other @ Token::Sign(_) => Err(format!("found '{}', expected: identifier", shown(other))),
    }
}

fn parse_number(tokens: &mut Tokens, _operator: &str) -> Result<i64, String> {
    let value = parse_value(tokens)?;
    value.parse().map_err(|_| {
        format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
    })
}

fn parse_set(tokens: &mut Tokens) -> Result<Vec<String>, String> {
    let open = tokens.next();
    if open != Token::Sign("(") {
        return Err(format!("found '{}' expected: '('", shown(&open)));
    }
    let mut values = Vec::new();
    let mut is_value_due = true;
    loop {
        match tokens.next() {
            Token::Word(word) => {
                values.push(word);
                is_value_due = false;
            }
            Token::Sign(",") => {
                if is_value_due {
                    values.push(String::new());
                }
                is_value_due = true;
            }
            Token::Sign(")") => {
                if is_value_due {
                    values.push(String::new());
                }
                return Ok(values);
            }
            other @ (Token::Sign(_) | Token::End) => {
                return Err(format!(
                    "found '{}', expected: ',', ')' or identifier",
                    shown(&other)
                ));
            }
        }
    }
}

const NAME_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn is_label_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn check_key(key: &str) -> Result<(), String> {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    if is_label_name(name) && name.len() <= 63 {
        Ok(())
    } else {
        Err(format!("<nil>: Invalid value: {key:?}: {NAME_RULE}"))
    }
}

fn check_values(key: &str, test: &Test) -> Result<(), String> {
    let (Test::In(values) | Test::NotIn(values)) = test else {
        return Ok(());
    };
    for (index, value) in values.iter().enumerate() {
        let mut complaint = format!("values[{index}][{key}]: Invalid value: {value:?}: ");
        if value.len() > 63 {
            complaint.push_str("must be no more than 63 bytes");
            return Err(complaint);
        }
        if !value.is_empty() && !is_label_name(value) {
            let _ = write!(complaint, "{VALUE_RULE}");
            return Err(complaint);
        }
    }
    Ok(())
}
