// What the grammars of rate limits and routes share: rules separated by `;`, each of words separated by blanks, each word an option `key=value` or `key` that
// is given once. Owns the loop, the positions and the form of mistakes; which options there are, and what they take, is each grammar's own.
import { ConfigError } from "../errors.ts";

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/; // RFC 9110 5.6.2

/** One word of a rule. */
export interface RuleWord {
  /** As written. */
  readonly text: string;
  /** Up to the `=`; all of it where there is none. */
  readonly key: string;
  /** After the `=`; null where there is none. */
  readonly value: string | null;
  /** Where it begins in the whole text, from 0. */
  readonly offset: number;
}

/** What is particular to one grammar. */
export interface RuleGrammar<Rule> {
  /** Opens every message, such as "rate limit". */
  readonly name: string;
  /** Completes "at most 32 ". */
  readonly plural: string;
  readonly maxRules: number;
  /** Every option, for messages. */
  readonly options: string;
  /** An example for a rule without a word, such as "a rate such as 100/s". */
  readonly example: string;
  /** Makes rule `number` (from 1) without its options. May shift from `words`, of which there is at least one, what is no option. */
  readonly begin: (words: RuleWord[], number: number) => Rule;
  /** Sets one option; false when there is none of that key. */
  readonly set: (rule: Rule, word: RuleWord) => boolean;
}

/**
 * Reads a list of rules. An empty text is no rule.
 * @throws ConfigError("invalid_value") naming the position (1-based column), the value and what is allowed.
 */
export function readRules<Rule>(text: string, grammar: RuleGrammar<Rule>): readonly Rule[] {
  const rules: Rule[] = [];
  if (text.trim() === "") return rules;
  let start = 0;
  for (const part of text.split(";")) {
    if (rules.length === grammar.maxRules)
      throw ruleMistake(grammar.name, { text: part.trim(), offset: start }, `at most ${grammar.maxRules} ${grammar.plural}`);
    rules.push(readRule(part, start, rules.length + 1, grammar));
    start += part.length + 1;
  }
  return rules;
}

/** A method of HTTP in upper case. @throws ConfigError */
export function readMethod(name: string, word: RuleWord): string {
  const method = word.value ?? "";
  if (TOKEN.test(method) && method === method.toUpperCase()) return method;
  throw ruleMistake(name, word, "one method in upper case, such as POST");
}

/** The error for a word that the grammar `name` does not take. */
export function ruleMistake(name: string, { text, offset }: Pick<RuleWord, "text" | "offset">, allowed: string): ConfigError {
  const shown = text.slice(0, 100);
  return new ConfigError(
    "invalid_value",
    `${name}, column ${offset + 1}: ${shown === "" ? "nothing there" : `"${shown}"`}; allowed: ${allowed}`,
    { fields: { position: offset + 1, value: shown, allowed } },
  );
}

function readRule<Rule>(part: string, offset: number, number: number, grammar: RuleGrammar<Rule>): Rule {
  const words = [...part.matchAll(/\S+/g)].map((match) => wordOf(match[0], offset + match.index));
  if (words.length === 0) throw ruleMistake(grammar.name, { text: "", offset }, `${grammar.example} between the semicolons`);
  const rule = grammar.begin(words, number);
  const seen = new Set<string>();
  for (const word of words) {
    if (!grammar.set(rule, word)) throw ruleMistake(grammar.name, word, grammar.options);
    if (seen.has(word.key)) throw ruleMistake(grammar.name, word, `each of ${grammar.options} once`);
    seen.add(word.key);
  }
  return rule;
}

function wordOf(text: string, offset: number): RuleWord {
  const equals = text.indexOf("=");
  return equals < 0
    ? { text, key: text, value: null, offset }
    : { text, key: text.slice(0, equals), value: text.slice(equals + 1), offset };
}
