/** Small things that float above the pages: notices, questions, the palette, the key sheet. */
import { message } from "./api";

export interface Notice {
  id: number;
  tone: "good" | "bad";
  text: string;
}

export interface Question {
  title: string;
  text: string;
  confirm: string;
  danger?: boolean;
  /** The name that has to be typed before a thing of weight is destroyed. */
  typed?: string;
  run: () => Promise<unknown> | unknown;
}

class Floating {
  notices = $state<Notice[]>([]);
  question = $state<Question | null>(null);
  palette = $state(false);
  keys = $state(false);
  private next = 1;

  say(text: string, tone: Notice["tone"] = "good"): void {
    const id = this.next++;
    this.notices.push({ id, tone, text });
    setTimeout(() => this.drop(id), tone === "bad" ? 12_000 : 4_000);
  }

  drop(id: number): void {
    this.notices = this.notices.filter((notice) => notice.id !== id);
  }

  ask(question: Question): void {
    this.question = question;
  }

  /** Do it, and if the server refuses, show its sentence. */
  async attempt(run: () => Promise<unknown>, done = ""): Promise<boolean> {
    try {
      await run();
      if (done) this.say(done);
      return true;
    } catch (error) {
      this.say(message(error), "bad");
      return false;
    }
  }
}

export const floating = new Floating();

export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http has no clipboard API; the old way works everywhere.
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    return ok;
  }
}

export function save(name: string, content: BlobPart, type = "application/octet-stream"): void {
  const href = URL.createObjectURL(new Blob([content], { type }));
  const anchor = document.createElement("a");
  anchor.href = href;
  anchor.download = name;
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}
