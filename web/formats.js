/** The transcript as files, from the segments as they were edited. What the API writes, this writes the same way. */

export const FORMATS = [
  ["text", "Text (.txt)", "txt"],
  ["srt", "Subtitles (.srt)", "srt"],
  ["vtt", "Web subtitles (.vtt)", "vtt"],
  ["json", "Data (.json)", "json"],
];

/** A segment whose text was deleted is in none of them. */
export function written(format, transcript, segments) {
  return WRITERS[format](transcript, segments.filter(({ text }) => text.trim()));
}

const WRITERS = {
  text: (_, segments) => segments.map((segment) => `${saidBy(segment)}${line(segment.text)}\n`).join(""),
  srt: (_, segments) => segments.map((segment, index) => `${index + 1}\n${times(segment, ",")}\n${cue(saidBy(segment) + segment.text)}\n`).join("\n"),
  vtt: (_, segments) => `WEBVTT\n${segments.map((segment) => `\n${times(segment, ".")}\n${voice(segment)}${escaped(cue(segment.text))}\n`).join("")}`,
  json(transcript, segments) {
    const clean = segments.map(({ original, ...segment }) => segment);
    const shape = { ...transcript, text: clean.map(({ text }) => text).join("").trim(), segments: clean };
    if (transcript.words) shape.words = clean.flatMap(({ words }) => words ?? []);
    return `${JSON.stringify(shape, null, 2)}\n`;
  },
};

/**
 * A segment with another text. Words that are still there keep their times; those between share what is left, by
 * their length. What a person wrote is sure.
 */
export function retimed(segment, text) {
  const mended = text && /^\s/.test(segment.text) ? ` ${text}` : text;
  const changed = { ...segment, text: mended, low_confidence: false, doubtful: false };
  if (!segment.words) return changed;
  const old = segment.words;
  const joined = (words) => words.map(({ word }) => word).join("");
  const [before, after] = [pieces(joined(old)), pieces(mended)];
  const first = common(before, after);
  const last = common(before.slice(first).reverse(), after.slice(first).reverse());
  const head = within(old, before.slice(0, first).join("").length);
  const tail = within([...old].reverse(), before.slice(before.length - last).join("").length);
  const middle = pieces(mended.slice(joined(old.slice(0, head)).length, mended.length - joined(old.slice(old.length - tail)).length));
  const start = old[head]?.start ?? segment.end;
  const from = head ? Math.min(start, old.length - tail > head ? start : old[head - 1].end) : old.length - tail > 0 ? start : segment.start;
  const to = tail ? old[old.length - tail].start : segment.end;
  const letters = middle.reduce((sum, word) => sum + word.trim().length, 0);
  let at = from;
  const between = middle.map((word) => {
    const begin = at;
    at += ((Math.max(to, from) - from) * word.trim().length) / letters;
    const speaker = segment.speaker === undefined ? {} : { speaker: segment.speaker, overlap: segment.overlap };
    return { word, start: round(begin), end: round(at), probability: 1, ...speaker };
  });
  return { ...changed, words: [...old.slice(0, head), ...between, ...old.slice(old.length - tail)] };
}

const LETTER = "[\\p{sc=Han}\\p{sc=Hiragana}\\p{sc=Katakana}\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmer}\\p{sc=Myanmar}]";
const MARKS = "[\\p{M}\\p{Lm}\\p{Pe}\\p{Pf}\\p{Po}\\p{Pd}]";
const PIECE = new RegExp(`\\s*[\\p{Ps}\\p{Pi}]*(?:${LETTER}${MARKS}*|(?:(?!${LETTER})\\S)+|$)`, "gu");

/** Words with the space before them; of scripts without spaces between words each letter with its marks. */
const pieces = (text) => text.match(PIECE).filter(Boolean);

/** How many pieces of two lists are the same from the beginning. */
function common(some, others) {
  const differs = some.findIndex((piece, at) => piece !== others[at]);
  return differs < 0 ? some.length : differs;
}

/** How many of these words lie within so many letters. */
function within(words, letters) {
  let [count, left] = [0, letters];
  while (count < words.length && words[count].word.length <= left) left -= words[count++].word.length;
  return count;
}

const round = (seconds) => Math.round(seconds * 1000) / 1000;
const times = ({ start, end }, mark) => `${stamp(start, mark)} --> ${stamp(end, mark)}`;
const line = (text) => text.trim().split(/\s+/).join(" ");
// A cue's text can't hold an arrow or an empty line: either would end it.
const cue = (text) => line(text).replace(/-{2,}>/g, "->");
// A speaker's name, or a channel's, comes first: with a colon, or as a voice span.
export const voiceOf = ({ speaker, channel, channel_name: name }) => speaker ?? (channel ? (name ?? `Channel ${channel}`) : null);
const saidBy = (segment) => (voiceOf(segment) ? `${cue(voiceOf(segment))}: ` : "");
const voice = (segment) => (voiceOf(segment) ? `<v ${escaped(cue(voiceOf(segment)))}>` : "");
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function stamp(seconds, mark) {
  const total = Math.max(0, Math.round(seconds * 1000));
  const part = (number, digits = 2) => String(number).padStart(digits, "0");
  const [hours, minutes, whole] = [Math.floor(total / 3_600_000), Math.floor(total / 60_000) % 60, Math.floor(total / 1000) % 60];
  return `${part(hours)}:${part(minutes)}:${part(whole)}${mark}${part(total % 1000, 3)}`;
}
