/** One catalogue for every sentence a person sees, so that another language is one more file. */
import { prefs } from "../lib/prefs.svelte";
import { en } from "./en";

export type Key = keyof typeof en;
type Values = Record<string, string | number | null | undefined>;

const ACCENTS: Record<string, string> = {
  a: "á", b: "ƀ", c: "ç", d: "đ", e: "é", f: "ƒ", g: "ğ", h: "ħ", i: "í", j: "ĵ", k: "ķ", l: "ł", m: "ɱ",
  n: "ñ", o: "ö", p: "þ", q: "ɋ", r: "ř", s: "š", t: "ŧ", u: "ü", v: "ṽ", w: "ŵ", x: "ẋ", y: "ý", z: "ž",
  A: "Å", B: "Ɓ", C: "Ç", D: "Đ", E: "É", F: "Ƒ", G: "Ğ", H: "Ħ", I: "Í", L: "Ł", M: "Ṁ", N: "Ñ", O: "Ö",
  P: "Þ", R: "Ř", S: "Š", T: "Ŧ", U: "Ü", V: "Ṽ", W: "Ŵ", Y: "Ý", Z: "Ž",
};

function pseudo(text: string): string {
  let out = "";
  let depth = 0;
  for (const char of text) {
    if (char === "{") depth += 1;
    out += depth ? char : (ACCENTS[char] ?? char);
    if (char === "}") depth -= 1;
  }
  return `⟦${out}${"·".repeat(Math.ceil(text.length / 6))}⟧`;
}

function fill(text: string, values: Values): string {
  return text.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** The sentence of this key in the present language. Reads the language as state, so templates follow a change. */
export function t(key: Key, values: Values = {}): string {
  const text: string = en[key] ?? key;
  return fill(prefs.locale === "pseudo" ? pseudo(text) : text, values);
}

const plural = new Intl.PluralRules("en");

/** A counted sentence: `key.one` or `key.other`, with `{n}`. */
export function tn(key: string, n: number, values: Values = {}): string {
  const form = `${key}.${plural.select(n) === "one" ? "one" : "other"}`;
  return t(form as Key, { n: n.toLocaleString("en"), ...values });
}

/** A word that the server sent (a state, a part) if the catalogue has it, else the word itself. */
export function word(prefix: string, value: string): string {
  const key = `${prefix}.${value}`;
  return key in en ? t(key as Key) : value;
}
