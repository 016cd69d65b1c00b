package secretsprocessor

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// pattern is an expression, and letters that are in whatever it matches: looking for those first costs a hundredth, and most
// texts do not have them.
type pattern struct {
	*regexp.Regexp

	needed string
}

func patternOf(expression *regexp.Regexp) pattern {
	parsed, err := syntax.Parse(expression.String(), syntax.Perl)
	if err != nil { // it was compiled before
		return pattern{expression, ""}
	}
	return pattern{expression, neededIn(parsed.Simplify())}
}

// matches are the places where a text matches.
func (p pattern) matches(text string) [][]int {
	if !strings.Contains(text, p.needed) {
		return nil
	}
	return p.FindAllStringIndex(text, -1)
}

// neededIn is the first text that every match holds; "" if there is none, or it may be in other letters.
func neededIn(part *syntax.Regexp) string {
	switch part.Op {
	case syntax.OpLiteral:
		if part.Flags&syntax.FoldCase == 0 {
			return string(part.Rune)
		}
	case syntax.OpCapture, syntax.OpPlus:
		return neededIn(part.Sub[0])
	case syntax.OpConcat:
		for _, each := range part.Sub {
			if found := neededIn(each); found != "" {
				return found
			}
		}
	}
	return ""
}
