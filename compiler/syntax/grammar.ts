import { CstParser, EOF, tokenMatcher, type CstNode, type IParserErrorMessageProvider, type IToken, type ParserMethod, type TokenType } from "chevrotain";
import {
  Along, Arrow, As, Assign, By, CloseBrace, CloseParen, CloseSquare, Colon, Comma, Const, declarationWords, Define, Dot,
  Dots, Else, Except, Expect, False, Fn, For, If, In, Infix, infixOperators, Is, Let, Matching, Minus, Name, Not, Numeral,
  Observe, Of, On, OpenBrace, OpenParen, OpenSquare, Pack, precedence, RecipeWord, Reduction, Return, Save, Scan,
  statementWords, Store, Text, tokens, Top, True, Unpack, UpdateName, Use, Var, Where, With, Word,
} from "./tokens.js";

/**
 * The grammar of `spec/language.md`, in its order. It makes chevrotain's concrete tree, which `build.ts` turns into
 * the Ast, and goes on after an error, so that one run reports several.
 */
export class Grammar extends CstParser {
  /** `messages` words errors; `validate` checks the grammar itself, for tests. */
  constructor(options: { readonly validate: boolean; readonly messages: IParserErrorMessageProvider }) {
    super([...tokens], { recoveryEnabled: true, errorMessageProvider: options.messages, nodeLocationTracking: "onlyOffset", maxLookahead: 2, skipValidations: !options.validate });
    this.performSelfAnalysis();
  }

  readonly module = this.RULE("module", () => {
    this.MANY(() => this.SUBRULE(this.declaration));
    this.CONSUME(EOF);
  });

  private readonly declaration = this.RULE("declaration", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.use) },
      { ALT: () => this.SUBRULE(this.constant) },
      { ALT: () => this.SUBRULE(this.function) },
      { ALT: () => this.SUBRULE(this.recipe) },
    ]);
  });

  private readonly use = this.RULE("use", () => {
    this.CONSUME(Use);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.usePath) });
  });

  private readonly usePath = this.RULE("usePath", () => {
    this.OR([{ ALT: () => this.CONSUME(Name) }, { ALT: () => this.CONSUME(Text) }]);
  });

  private readonly constant = this.RULE("constant", () => {
    this.CONSUME(Const);
    this.CONSUME(Name);
    this.CONSUME(Define);
    this.SUBRULE(this.expression);
  });

  private readonly function = this.RULE("function", () => {
    this.CONSUME(Fn);
    this.CONSUME(Name);
    this.SUBRULE(this.parameters);
    this.OPTION(() => {
      this.CONSUME(Arrow);
      this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.type) });
    });
    this.OPTION2(() => this.SUBRULE(this.constraints));
    this.SUBRULE(this.block);
  });

  private readonly constraints = this.RULE("constraints", () => {
    this.CONSUME(Where);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.expression) });
  });

  private readonly recipe = this.RULE("recipe", () => {
    this.CONSUME(RecipeWord);
    this.CONSUME(Name);
    this.SUBRULE(this.parameters);
    this.SUBRULE(this.block);
  });

  private readonly parameters = this.RULE("parameters", () => {
    this.CONSUME(OpenParen);
    this.MANY_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.parameter) });
    this.CONSUME(CloseParen);
  });

  private readonly parameter = this.RULE("parameter", () => {
    this.OPTION(() => this.CONSUME(Var));
    this.CONSUME(Name);
    this.OPTION2(() => {
      this.CONSUME(Colon);
      this.SUBRULE(this.type);
    });
    this.OPTION3(() => {
      this.CONSUME(Define);
      this.SUBRULE(this.expression);
    });
  });

  private readonly type = this.RULE("type", () => {
    this.CONSUME(Name);
    this.OPTION(() => {
      this.CONSUME(OpenSquare);
      this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.expression) });
      this.CONSUME(CloseSquare);
    });
    this.OPTION2(() => this.SUBRULE(this.pattern));
    this.OPTION3(() => {
      this.CONSUME(As);
      this.SUBRULE(this.format);
    });
  });

  private readonly pattern = this.RULE("pattern", () => {
    this.CONSUME(Is);
    this.SUBRULE(this.expression, { ARGS: [precedence.sum], LABEL: "n" });
    this.CONSUME(Colon);
    this.SUBRULE2(this.expression, { ARGS: [precedence.sum], LABEL: "m" });
    this.CONSUME(Along);
    this.CONSUME(Name);
  });

  private readonly format = this.RULE("format", () => {
    this.CONSUME(Name);
    this.OPTION(() => this.SUBRULE(this.arguments));
    this.OPTION2(() => {
      this.CONSUME(Of);
      this.SUBRULE(this.format);
    });
  });

  private readonly arguments = this.RULE("arguments", () => {
    this.CONSUME(OpenParen);
    this.MANY_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.argument) });
    this.CONSUME(CloseParen);
  });

  private readonly argument = this.RULE("argument", () => {
    this.OPTION({
      GATE: () => tokenMatcher(this.LA(2), Colon),
      DEF: () => {
        this.CONSUME(Word);
        this.CONSUME(Colon);
      },
    });
    this.SUBRULE(this.expression);
  });

  private readonly block = this.RULE("block", () => {
    this.CONSUME(OpenBrace);
    this.MANY(() => this.SUBRULE(this.statement));
    this.CONSUME(CloseBrace);
  });

  private readonly statement = this.RULE("statement", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.let) },
      { ALT: () => this.SUBRULE(this.var) },
      { ALT: () => this.SUBRULE(this.update) },
      { ALT: () => this.SUBRULE(this.scan) },
      { ALT: () => this.SUBRULE(this.for) },
      { ALT: () => this.SUBRULE(this.return) },
      { ALT: () => this.SUBRULE(this.if) },
      { ALT: () => this.SUBRULE(this.store) },
      { ALT: () => this.SUBRULE(this.expect) },
      { ALT: () => this.SUBRULE(this.save) },
    ]);
  });

  private readonly let = this.RULE("let", () => {
    this.CONSUME(Let);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.CONSUME(Name) });
    this.OPTION(() => this.SUBRULE(this.indices));
    this.CONSUME(Define);
    this.SUBRULE(this.expression);
    this.SUBRULE(this.ranges);
  });

  private readonly indices = this.RULE("indices", () => {
    this.CONSUME(OpenSquare);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.CONSUME(Name) });
    this.CONSUME(CloseSquare);
  });

  private readonly ranges = this.RULE("ranges", () => {
    this.OPTION({
      GATE: () => !this.forIsLoop(),
      DEF: () => {
        this.CONSUME(For);
        this.SUBRULE(this.range);
        // in `return a, b where a[i] = e for i in 0 .. 4, b[j] = ...` a comma may also begin a definition
        this.MANY({
          GATE: () => !tokenMatcher(this.LA(3), OpenSquare),
          DEF: () => {
            this.CONSUME(Comma);
            this.SUBRULE2(this.range);
          },
        });
      },
    });
  });

  private readonly range = this.RULE("range", () => {
    this.CONSUME(Name);
    this.CONSUME(In);
    this.SUBRULE(this.expression, { LABEL: "low" });
    this.CONSUME(Dots);
    this.SUBRULE2(this.expression, { LABEL: "high" });
  });

  private readonly var = this.RULE("var", () => {
    this.CONSUME(Var);
    this.CONSUME(Name);
    this.CONSUME(Define);
    this.SUBRULE(this.expression);
  });

  private readonly update = this.RULE("update", () => {
    this.CONSUME(UpdateName);
    this.CONSUME(OpenSquare);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.expression, { LABEL: "at" }) });
    this.CONSUME(CloseSquare);
    this.CONSUME(Assign);
    this.SUBRULE2(this.expression, { LABEL: "value" });
    this.SUBRULE(this.ranges);
  });

  private readonly scan = this.RULE("scan", () => {
    this.CONSUME(Scan);
    this.SUBRULE(this.range);
    this.SUBRULE(this.block);
  });

  private readonly for = this.RULE("for", () => {
    this.CONSUME(For);
    this.CONSUME(Name);
    this.CONSUME(In);
    this.SUBRULE(this.expression, { LABEL: "over" });
    this.OPTION(() => {
      this.CONSUME(Dots);
      this.SUBRULE2(this.expression, { LABEL: "to" });
    });
    this.OPTION2(() => {
      this.CONSUME(Matching);
      this.SUBRULE(this.globs, { LABEL: "matching" });
    });
    this.OPTION3(() => {
      this.CONSUME(Except);
      this.SUBRULE2(this.globs, { LABEL: "except" });
    });
    this.SUBRULE(this.block);
  });

  private readonly globs = this.RULE("globs", () => {
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.CONSUME(Text) });
  });

  private readonly return = this.RULE("return", () => {
    this.CONSUME(Return);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.expression) });
    this.OPTION(() => {
      this.CONSUME(Where);
      this.AT_LEAST_ONE_SEP2({ SEP: Comma, DEF: () => this.SUBRULE(this.definition) });
    });
  });

  private readonly definition = this.RULE("definition", () => {
    this.CONSUME(Name);
    this.SUBRULE(this.indices);
    this.CONSUME(Define);
    this.SUBRULE(this.expression);
    this.SUBRULE(this.ranges);
  });

  private readonly if = this.RULE("if", () => {
    this.CONSUME(If);
    this.SUBRULE(this.expression);
    this.SUBRULE(this.block);
    this.OPTION(() => {
      this.CONSUME(Else);
      this.OR([{ ALT: () => this.SUBRULE(this.if) }, { ALT: () => this.SUBRULE2(this.block, { LABEL: "otherwise" }) }]);
    });
  });

  private readonly store = this.RULE("store", () => {
    this.CONSUME(Store);
    this.SUBRULE(this.expression, { LABEL: "target" });
    this.CONSUME(As);
    this.SUBRULE2(this.expression, { LABEL: "value" });
  });

  private readonly expect = this.RULE("expect", () => {
    this.CONSUME(Expect);
    this.SUBRULE(this.expression);
  });

  private readonly save = this.RULE("save", () => {
    this.CONSUME(Save);
    this.CONSUME(Text);
  });

  /** Operands joined by operators that bind at least as tightly as `least`. */
  private readonly expression: ParserMethod<[least?: number], CstNode> = this.RULE("expression", (least: number = 0) => {
    this.SUBRULE(this.operand);
    this.MANY({
      GATE: () => this.infixPrecedence() >= least && !this.atDefinition(),
      DEF: () => {
        const operator = this.CONSUME(Infix);
        const binds = infixOperators.get(operator.image) ?? 0;
        this.SUBRULE(this.expression, { ARGS: [operator.image === "^" ? precedence.negate : binds + 1] });
      },
    });
  });

  private readonly operand = this.RULE("operand", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.negate) },
      { ALT: () => this.SUBRULE(this.not) },
      { GATE: () => tokenMatcher(this.LA(2), OpenSquare), ALT: () => this.SUBRULE(this.reduce) },
      { ALT: () => this.SUBRULE(this.top) },
      { ALT: () => this.SUBRULE(this.pack) },
      { ALT: () => this.SUBRULE(this.unpack) },
      { ALT: () => this.SUBRULE(this.observe) },
      { ALT: () => this.SUBRULE(this.postfix) },
    ]);
  });

  private readonly negate = this.RULE("negate", () => {
    this.CONSUME(Minus);
    this.SUBRULE(this.expression, { ARGS: [precedence.negate] });
  });

  private readonly not = this.RULE("not", () => {
    this.CONSUME(Not);
    this.SUBRULE(this.expression, { ARGS: [precedence.not] });
  });

  private readonly reduce = this.RULE("reduce", () => {
    this.CONSUME(Reduction);
    this.CONSUME(OpenSquare);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.reduceRange) });
    this.CONSUME(CloseSquare);
    this.SUBRULE(this.expression, { ARGS: [precedence.reduce] });
  });

  private readonly reduceRange = this.RULE("reduceRange", () => {
    this.CONSUME(Name);
    this.OPTION(() => {
      this.CONSUME(In);
      this.SUBRULE(this.expression, { LABEL: "low" });
      this.CONSUME(Dots);
      this.SUBRULE2(this.expression, { LABEL: "high" });
    });
  });

  private readonly top = this.RULE("top", () => {
    this.CONSUME(Top);
    this.SUBRULE(this.expression, { ARGS: [precedence.sum], LABEL: "n" });
    this.CONSUME(Of);
    this.SUBRULE2(this.expression, { ARGS: [precedence.sum], LABEL: "m" });
    this.CONSUME(Along);
    this.OR([{ ALT: () => this.CONSUME(Name) }, { ALT: () => this.CONSUME(Numeral) }]);
    this.CONSUME(In);
    this.SUBRULE3(this.expression, { ARGS: [precedence.sum], LABEL: "score" });
  });

  private readonly pack = this.RULE("pack", () => {
    this.CONSUME(Pack);
    this.SUBRULE(this.expression, { LABEL: "value" });
    this.CONSUME(As);
    this.SUBRULE(this.format);
    this.OPTION(() => {
      this.CONSUME(With);
      this.CONSUME(Name, { LABEL: "scaleWord" });
      this.SUBRULE2(this.expression, { LABEL: "scale" });
      this.OPTION2({
        GATE: () => this.LA(2).image === "zero" && beginsExpression(this.LA(3)),
        DEF: () => {
          this.CONSUME(Comma);
          this.CONSUME2(Name, { LABEL: "zeroWord" });
          this.SUBRULE3(this.expression, { LABEL: "zero" });
        },
      });
    });
  });

  private readonly unpack = this.RULE("unpack", () => {
    this.CONSUME(Unpack);
    this.SUBRULE(this.expression, { ARGS: [precedence.negate] });
  });

  private readonly observe = this.RULE("observe", () => {
    this.CONSUME(Observe);
    this.SUBRULE(this.postfix, { LABEL: "block" });
    this.CONSUME(On);
    this.SUBRULE2(this.postfix, { LABEL: "text" });
    this.CONSUME(By);
    this.CONSUME(Name);
  });

  private readonly postfix = this.RULE("postfix", () => {
    this.SUBRULE(this.primary);
    this.MANY(() => this.SUBRULE(this.suffix));
  });

  private readonly suffix = this.RULE("suffix", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(Dot);
          this.CONSUME(Word);
        },
      },
      {
        ALT: () => {
          this.CONSUME(OpenSquare);
          this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.expression) });
          this.CONSUME(CloseSquare);
        },
      },
    ]);
  });

  private readonly primary = this.RULE("primary", () => {
    this.OR([
      { ALT: () => this.CONSUME(Numeral) },
      { ALT: () => this.CONSUME(Text) },
      { ALT: () => this.CONSUME(True) },
      { ALT: () => this.CONSUME(False) },
      {
        ALT: () => {
          this.CONSUME(Name);
          this.OPTION(() => this.SUBRULE(this.arguments));
        },
      },
      // `max(a, b)`: two operands, not a reduction
      {
        ALT: () => {
          this.CONSUME(Reduction);
          this.SUBRULE2(this.arguments);
        },
      },
      {
        ALT: () => {
          this.CONSUME(OpenParen);
          this.SUBRULE(this.expression);
          this.CONSUME(CloseParen);
        },
      },
    ]);
  });

  /** The precedence of the operator that comes next, or -1. */
  private infixPrecedence(): number {
    return infixOperators.get(this.LA(1).image) ?? -1;
  }

  /** Whether next is `where y[t, n] =`: a definition after `return`, not a mask [L-52]. */
  private atDefinition(): boolean {
    if (!tokenMatcher(this.LA(1), Where) || !tokenMatcher(this.LA(2), Name) || !tokenMatcher(this.LA(3), OpenSquare)) return false;
    let depth = 1;
    let at = 4;
    for (; depth > 0; at += 1) {
      const token = this.LA(at);
      if (tokenMatcher(token, OpenSquare)) depth += 1;
      else if (tokenMatcher(token, CloseSquare)) depth -= 1;
      else if (tokenMatcher(token, EOF) || tokenMatcher(token, OpenBrace) || tokenMatcher(token, CloseBrace)) return false;
    }
    return tokenMatcher(this.LA(at), Define);
  }

  /** Whether the `for` that comes next begins a loop: its header ends in `{` before another statement begins [L-44]. */
  private forIsLoop(): boolean {
    if (!tokenMatcher(this.LA(1), For)) return false;
    for (let at = 2; ; at += 1) {
      const token = this.LA(at);
      if (tokenMatcher(token, OpenBrace)) return true;
      const ends = tokenMatcher(token, EOF) || tokenMatcher(token, CloseBrace) || tokenMatcher(token, Assign);
      if (ends || [...statementWords, ...declarationWords].some((word) => tokenMatcher(token, word))) return false;
    }
  }
}

/** A node of the concrete tree. */
export type { CstNode, IToken, TokenType };

const expressionStarts: readonly TokenType[] = [Name, Numeral, Text, True, False, OpenParen, Minus, Not, Reduction, Top, Pack, Unpack, Observe];

/** Whether an expression can begin with this token. */
export function beginsExpression(token: IToken): boolean {
  return expressionStarts.some((start) => tokenMatcher(token, start));
}
