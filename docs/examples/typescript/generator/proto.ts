// Reads as much of the language of .proto files as the protocol uses, and refuses the rest: a file
// that is understood by half would make a codec that is wrong by half.

export interface ProtoField {
  readonly name: string;
  readonly number: number;
  readonly type: string;
  readonly label: "one" | "many" | "optional";
  readonly oneof: string | undefined;
}

export interface ProtoMessage {
  readonly name: string;
  readonly fields: readonly ProtoField[];
}

export interface ProtoEnum {
  readonly name: string;
  readonly values: readonly { readonly name: string; readonly number: number }[];
}

export interface ProtoFile {
  readonly messages: readonly ProtoMessage[];
  readonly enums: readonly ProtoEnum[];
}

export function parseProto(text: string): ProtoFile {
  const parser = new Parser(text);
  parser.file();
  return parser;
}

class Parser implements ProtoFile {
  readonly messages: ProtoMessage[] = [];
  readonly enums: ProtoEnum[] = [];
  readonly #words: readonly string[];
  #next = 0;

  constructor(text: string) {
    const bare = text.replace(/\/\/[^\n]*|\/\*[^]*?\*\//g, "");
    this.#words = bare.match(/[\w.]+|"[^"]*"|[^\s\w]/g) ?? [];
  }

  file(): void {
    while (this.#next < this.#words.length) {
      const word = this.#word();
      if (word === "message") this.#message();
      else if (word === "enum") this.#enum();
      else if (["syntax", "package", "import", "option"].includes(word)) this.#skipStatement();
      else throw new Error(`"${word}" is not expected between messages`);
    }
  }

  #word(): string {
    const word = this.#words[this.#next++];
    if (word === undefined) throw new Error("the file ends too early");
    return word;
  }

  #expect(expected: string): void {
    const word = this.#word();
    if (word !== expected) throw new Error(`"${word}" where "${expected}" is expected`);
  }

  #skipStatement(): void {
    while (this.#word() !== ";");
  }

  #message(): void {
    const name = this.#word();
    const fields: ProtoField[] = [];
    this.#expect("{");
    for (let word = this.#word(); word !== "}"; word = this.#word()) {
      if (word === "enum") this.#enum();
      else if (word === "message") this.#message();
      else if (word === "reserved") this.#skipStatement();
      else if (word === "oneof") this.#oneof(fields);
      else fields.push(this.#field(word, undefined));
    }
    fields.sort((one, other) => one.number - other.number);
    this.messages.push({ name, fields });
  }

  #oneof(fields: ProtoField[]): void {
    const name = this.#word();
    this.#expect("{");
    for (let word = this.#word(); word !== "}"; word = this.#word()) {
      fields.push(this.#field(word, name));
    }
  }

  #field(first: string, oneof: string | undefined): ProtoField {
    const label = first === "repeated" ? "many" : first === "optional" ? "optional" : "one";
    const type = label === "one" ? first : this.#word();
    const name = this.#word();
    this.#expect("=");
    const number = Number(this.#word());
    this.#expect(";");
    if (!Number.isInteger(number)) throw new Error(`${name} has no number`);
    return { name, number, type: type.replace(/^.*\./, ""), label, oneof };
  }

  #enum(): void {
    const name = this.#word();
    const values: { name: string; number: number }[] = [];
    this.#expect("{");
    for (let word = this.#word(); word !== "}"; word = this.#word()) {
      if (word === "reserved") {
        this.#skipStatement();
        continue;
      }
      this.#expect("=");
      values.push({ name: word, number: Number(this.#word()) });
      this.#expect(";");
    }
    this.enums.push({ name, values });
  }
}
