import { EOF, tokenMatcher } from "chevrotain";
import { ExpressionGrammar, type GrammarOptions } from "./grammar-expression.js";
import {
  Along,
  Arrow,
  And,
  As,
  Assign,
  By,
  CloseBrace,
  CloseParen,
  CloseSquare,
  Colon,
  Comma,
  Const,
  declarationWords,
  Define,
  Dots,
  Else,
  Except,
  Expect,
  Fn,
  For,
  Gradient,
  If,
  In,
  Is,
  Let,
  Matching,
  Name,
  Numeral,
  On,
  OpenBrace,
  OpenParen,
  OpenSquare,
  precedence,
  Of,
  RecipeWord,
  Retain,
  Return,
  Save,
  Scan,
  statementWords,
  Store,
  Measure,
  RoundWord,
  Permute,
  Print,
  ScaleWord,
  ThroughWord,
  Text,
  Train,
  UpdateName,
  Use,
  Var,
  Where,
  With,
} from "./tokens.js";

/**
 * The grammar of `spec/language.md`, in its order. It makes chevrotain's concrete tree, which `build.ts` turns into
 * the Ast, and goes on after an error, so that one run reports several.
 */
export class Grammar extends ExpressionGrammar {
  constructor(options: GrammarOptions) {
    super(options);
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
    // the module of what trains has the name of a word
    this.OR([{ ALT: () => this.CONSUME(Name) }, { ALT: () => this.CONSUME(Train) }, { ALT: () => this.CONSUME(Text) }]);
  });

  private readonly constant = this.RULE("constant", () => {
    this.CONSUME(Const);
    this.CONSUME(Name);
    this.CONSUME(Define);
    this.OR([{ ALT: () => this.SUBRULE(this.table) }, { ALT: () => this.SUBRULE(this.expression) }]);
  });

  private readonly table = this.RULE("table", () => {
    this.CONSUME(OpenSquare);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.expression) });
    this.CONSUME(CloseSquare);
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
    this.OPTION3(() => this.SUBRULE(this.adjoint));
    this.SUBRULE(this.block);
  });

  private readonly adjoint = this.RULE("adjoint", () => {
    this.CONSUME(Gradient);
    this.CONSUME(By);
    this.CONSUME(Name);
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
    this.OR([{ ALT: () => this.CONSUME(Name) }, { ALT: () => this.CONSUME(Numeral) }]);
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
      { ALT: () => this.SUBRULE(this.train) },
      { ALT: () => this.SUBRULE(this.store) },
      { ALT: () => this.SUBRULE(this.measure) },
      { ALT: () => this.SUBRULE(this.print) },
      { ALT: () => this.SUBRULE(this.permute) },
      { ALT: () => this.SUBRULE(this.retain) },
      { ALT: () => this.SUBRULE(this.scale) },
      { ALT: () => this.SUBRULE(this.round) },
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
    this.OPTION2({ GATE: () => !this.forIsLoop(), DEF: () => this.SUBRULE(this.ranges) });
  });

  private readonly indices = this.RULE("indices", () => {
    this.CONSUME(OpenSquare);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.CONSUME(Name) });
    this.CONSUME(CloseSquare);
  });

  private readonly ranges = this.RULE("ranges", () => {
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
    this.OPTION({ GATE: () => !this.forIsLoop(), DEF: () => this.SUBRULE(this.ranges) });
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
    this.AT_LEAST_ONE_SEP({
      SEP: Comma,
      DEF: () => this.OR([{ ALT: () => this.CONSUME(Text) }, { ALT: () => this.CONSUME(Name) }]),
    });
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
    this.OPTION({ GATE: () => !this.forIsLoop(), DEF: () => this.SUBRULE(this.ranges) });
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

  private readonly train = this.RULE("train", () => {
    this.CONSUME(Train);
    this.SUBRULE(this.postfix, { LABEL: "target" });
    this.CONSUME(On);
    this.SUBRULE2(this.postfix, { LABEL: "text" });
    this.CONSUME(By);
    this.CONSUME(Name);
    this.OPTION(() => this.SUBRULE(this.arguments));
    this.OPTION2(() => this.SUBRULE(this.beside));
    this.SUBRULE(this.block);
  });

  private readonly beside = this.RULE("beside", () => {
    this.CONSUME(And);
    this.CONSUME(Name);
    this.OPTION(() => this.SUBRULE(this.arguments));
  });

  private readonly store = this.RULE("store", () => {
    this.CONSUME(Store);
    this.SUBRULE(this.expression, { LABEL: "target" });
    this.CONSUME(As);
    this.SUBRULE2(this.expression, { LABEL: "value" });
  });

  private readonly measure = this.RULE("measure", () => {
    this.CONSUME(Measure);
    this.CONSUME(Name);
    this.CONSUME(Define);
    this.SUBRULE(this.expression);
  });

  private readonly print = this.RULE("print", () => {
    this.CONSUME(Print);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => this.SUBRULE(this.expression) });
  });

  private readonly permute = this.RULE("permute", () => {
    this.CONSUME(Permute);
    this.SUBRULE(this.postfix);
    this.CONSUME(On);
    this.SUBRULE(this.expression);
    this.CONSUME(By);
    this.CONSUME(Name);
    this.OPTION(() => this.SUBRULE(this.arguments));
  });

  private readonly retain = this.RULE("retain", () => {
    this.CONSUME(Retain);
    this.SUBRULE(this.expression, { LABEL: "kept" });
    this.CONSUME(Of);
    this.SUBRULE(this.postfix, { LABEL: "target" });
    this.CONSUME(By);
    this.SUBRULE2(this.expression, { LABEL: "score" });
  });

  private readonly scale = this.RULE("scale", () => {
    this.CONSUME(ScaleWord);
    this.CONSUME(Name);
    this.CONSUME(By);
    this.SUBRULE(this.expression);
    this.OPTION(() => {
      this.CONSUME(ThroughWord);
      this.CONSUME(Text);
    });
  });

  private readonly round = this.RULE("round", () => {
    this.CONSUME(RoundWord);
    this.CONSUME(Name);
    this.CONSUME(As);
    this.SUBRULE(this.format);
    this.OPTION(() => {
      this.CONSUME(With);
      this.CONSUME2(Name, { LABEL: "scaleWord" });
      this.SUBRULE(this.expression);
    });
  });

  private readonly expect = this.RULE("expect", () => {
    this.CONSUME(Expect);
    this.SUBRULE(this.expression);
  });

  private readonly save = this.RULE("save", () => {
    this.CONSUME(Save);
    this.CONSUME(Text);
  });

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
