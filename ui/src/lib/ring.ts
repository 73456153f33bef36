/** A buffer of the newest lines. Numbers of lines never change, so a reader who scrolled up stays where they are. */
export interface Line {
  n: number;
  source: "out" | "err" | "tty";
  time: string;
  text: string;
}

export class Ring {
  private rows: Line[] = [];
  private start = 0;
  next = 0;
  readonly capacity: number;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get length(): number {
    return this.rows.length - this.start;
  }

  get first(): number {
    return this.next - this.length;
  }

  push(line: Omit<Line, "n">): Line {
    const row = { ...line, n: this.next };
    this.next += 1;
    this.rows.push(row);
    if (this.length > this.capacity) this.start += 1;
    // Give the memory of dropped lines back now and then, not at every line.
    if (this.start > 8192) {
      this.rows = this.rows.slice(this.start);
      this.start = 0;
    }
    return row;
  }

  at(index: number): Line | undefined {
    return this.rows[this.start + index];
  }

  *[Symbol.iterator](): IterableIterator<Line> {
    for (let at = this.start; at < this.rows.length; at += 1) yield this.rows[at] as Line;
  }

  clear(): void {
    this.rows = [];
    this.start = 0;
  }
}

const STAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))\s?/;
// biome-ignore lint: escape sequences are what this removes
const ANSI = /\u001b\[[0-9;?]*[A-Za-z]|\u001b\][^\u0007]*\u0007|\r/g;

export function parse(frame: string): Omit<Line, "n">[] {
  const kind = frame.slice(0, 2);
  const known = /^0[0-2] /.test(frame);
  const source = kind === "02" ? "err" : kind === "00" ? "tty" : "out";
  const body = known ? frame.slice(3) : frame;
  const lines = body.split("\n");
  if (lines.length > 1 && lines.at(-1) === "") lines.pop();
  return lines.map((raw) => {
    const clean = raw.replace(ANSI, "");
    const stamp = STAMP.exec(clean);
    return { source, time: stamp?.[1] ?? "", text: stamp ? clean.slice(stamp[0].length) : clean };
  });
}
