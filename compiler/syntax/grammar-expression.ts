import {
  CstParser,
  EOF,
  tokenMatcher,
  type CstNode,
  type IParserErrorMessageProvider,
  type IToken,
  type ParserMethod,
  type TokenType,
} from "chevrotain";
import {
  Along,
  As,
  By,
  CloseBrace,
  CloseParen,
  CloseSquare,
  Colon,
  Comma,
  Define,
  Dot,
  Dots,
  False,
  In,
  Gradient,
  Infix,
  infixOperators,
  Minus,
  Name,
  Not,
  Numeral,
  Observe,
  Of,
  On,
  OpenBrace,
  OpenParen,
  OpenSquare,
  Pack,
  precedence,
  Reduction,
  SoftmaxMean,
  Text,
  tokens,
  Top,
  True,
  Unpack,
  Where,
  With,
} from "./tokens.js";

/**
 * What a Grammar is made with: `messages` words errors; `recover` goes on after an error; `validate` checks the grammar
 * itself, for tests.
 */
export interface GrammarOptions {
  readonly recover: boolean;
  readonly validate: boolean;
  readonly messages: IParserErrorMessageProvider;
}

/** The part of the grammar that expressions and formats need. */
export abstract class ExpressionGrammar extends CstParser {
  constructor(options: GrammarOptions) {
    super([...tokens], {
      recoveryEnabled: options.recover,
      errorMessageProvider: options.messages,
      nodeLocationTracking: "onlyOffset",
      maxLookahead: 2,
      skipValidations: !options.validate,
    });
  }

  /** Operands joined by operators that bind at least as tightly as `least`. */
  protected readonly expression: ParserMethod<[least?: number], CstNode> = this.RULE(
    "expression",
    (least: number = 0) => {
      this.SUBRULE(this.operand);
      this.MANY({
        GATE: () => this.infixPrecedence() >= least && !this.atDefinition(),
        DEF: () => {
          const operator = this.CONSUME(Infix);
          const binds = infixOperators.get(operator.image) ?? 0;
          this.SUBRULE(this.expression, { ARGS: [operator.image === "^" ? precedence.negate : binds + 1] });
        },
      });
    },
  );

  private readonly operand = this.RULE("operand", () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.negate) },
      { ALT: () => this.SUBRULE(this.not) },
      { GATE: () => tokenMatcher(this.LA(2), OpenSquare), ALT: () => this.SUBRULE(this.reduce) },
      { ALT: () => this.SUBRULE(this.top) },
      { ALT: () => this.SUBRULE(this.pack) },
      { ALT: () => this.SUBRULE(this.unpack) },
      { ALT: () => this.SUBRULE(this.observe) },
      { ALT: () => this.SUBRULE(this.gradient) },
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

  private readonly softmaxMean = this.RULE("softmaxMean", () => {
    this.CONSUME(SoftmaxMean);
    this.CONSUME(OpenSquare);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.reduceRange) });
    this.CONSUME(CloseSquare);
    this.CONSUME(OpenParen);
    this.SUBRULE(this.expression, { LABEL: "score" });
    this.CONSUME2(Comma);
    this.SUBRULE2(this.expression, { LABEL: "value" });
    this.CONSUME(CloseParen);
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
      this.SUBRULE2(this.expression, { ARGS: [precedence.or], LABEL: "scale" });
      this.OPTION2({
        GATE: () => this.LA(2).image === "zero" && beginsExpression(this.LA(3)),
        DEF: () => {
          this.CONSUME(Comma);
          this.CONSUME2(Name, { LABEL: "zeroWord" });
          this.SUBRULE3(this.expression, { ARGS: [precedence.or], LABEL: "zero" });
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

  private readonly gradient = this.RULE("gradient", () => {
    this.CONSUME(Gradient);
    this.CONSUME(Of);
    this.SUBRULE(this.postfix, { LABEL: "of" });
    this.CONSUME(By);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.CONSUME(Name) });
    this.OPTION(() => {
      this.CONSUME(With);
      this.SUBRULE2(this.postfix, { LABEL: "adjoint" });
    });
  });

  protected readonly postfix = this.RULE("postfix", () => {
    this.SUBRULE(this.primary);
    this.MANY(() => this.SUBRULE(this.suffix));
  });

  private readonly suffix = this.RULE("suffix", () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(Dot);
          this.CONSUME(Name);
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
      { ALT: () => this.SUBRULE(this.softmaxMean) },
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

  protected readonly format = this.RULE("format", () => {
    this.CONSUME(Name);
    this.OPTION(() => this.SUBRULE(this.arguments));
    this.OPTION2(() => {
      this.CONSUME(Of);
      this.SUBRULE(this.format);
    });
  });

  protected readonly arguments = this.RULE("arguments", () => {
    this.CONSUME(OpenParen);
    this.MANY_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.argument) });
    this.CONSUME(CloseParen);
  });

  private readonly argument = this.RULE("argument", () => {
    this.OPTION({
      GATE: () => tokenMatcher(this.LA(2), Colon),
      DEF: () => {
        this.CONSUME(Name);
        this.CONSUME(Colon);
      },
    });
    this.SUBRULE(this.expression);
  });

  /** The precedence of the operator that comes next, or -1. */
  private infixPrecedence(): number {
    return infixOperators.get(this.LA(1).image) ?? -1;
  }

  /** Whether next is `where y[t, n] =`: a definition after `return`, not a mask [L-52]. */
  private atDefinition(): boolean {
    if (!tokenMatcher(this.LA(1), Where) || !tokenMatcher(this.LA(2), Name) || !tokenMatcher(this.LA(3), OpenSquare))
      return false;
    let depth = 1;
    let at = 4;
    for (; depth > 0; at += 1) {
      const token = this.LA(at);
      if (tokenMatcher(token, OpenSquare)) depth += 1;
      else if (tokenMatcher(token, CloseSquare)) depth -= 1;
      else if (tokenMatcher(token, EOF) || tokenMatcher(token, OpenBrace) || tokenMatcher(token, CloseBrace))
        return false;
    }
    return tokenMatcher(this.LA(at), Define);
  }
}

const expressionStarts: readonly TokenType[] = [
  Name,
  Numeral,
  Text,
  True,
  False,
  OpenParen,
  Minus,
  Not,
  Reduction,
  SoftmaxMean,
  Top,
  Pack,
  Unpack,
  Observe,
  Gradient,
];

/** Whether an expression can begin with this token. */
export function beginsExpression(token: IToken): boolean {
  return expressionStarts.some((start) => tokenMatcher(token, start));
}
