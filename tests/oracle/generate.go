package main

import (
	"math/rand"
	"strings"
	"unicode"
)

// generator makes references that are likely to be told apart: right ones by the grammar, wrong ones by small changes
// to right ones, and noise.
type generator struct {
	random *rand.Rand
	seeds  []string
}

func (g *generator) next() string {
	switch g.random.Intn(10) {
	case 0, 1, 2:
		return g.grammatical()
	case 3, 4, 5:
		return g.mutated(g.seeds[g.random.Intn(len(g.seeds))])
	case 6, 7, 8:
		return g.mutated(g.grammatical())
	default:
		return g.noise()
	}
}

func (g *generator) pick(words ...string) string { return words[g.random.Intn(len(words))] }

func (g *generator) run(alphabet string, least, most int) string {
	var text strings.Builder
	for range least + g.random.Intn(most-least+1) {
		text.WriteByte(alphabet[g.random.Intn(len(alphabet))])
	}
	return text.String()
}

const (
	lower = "abcdefxyz0189"
	mixed = lower + "ABFZ"
	hex   = "0123456789abcdef"
)

func (g *generator) grammatical() string {
	text := ""
	if g.random.Intn(4) > 0 {
		text = g.domain() + "/"
	}
	for part := range 1 + g.random.Intn(3) {
		if part > 0 {
			text += "/"
		}
		text += g.component()
	}
	if g.random.Intn(40) == 0 { // Around the limit of 255 bytes.
		text += "/" + strings.Repeat("a", max(0, 244+g.random.Intn(14)-strings.IndexByte(text+"/", '/')))
	}
	if g.random.Intn(2) == 0 {
		text += ":" + g.tag()
	}
	if g.random.Intn(3) == 0 {
		text += "@" + g.digest()
	}
	return text
}

func (g *generator) domain() string {
	host := ""
	switch g.random.Intn(8) {
	case 0:
		host = g.pick("docker.io", "index.docker.io", "localhost", "Docker.io", "LOCALHOST", "index.docker.io.")
	case 1:
		host = "[" + g.run(hex+"::::ABCF", 0, 12) + "]"
	case 2:
		host = g.run(lower, 1, 6) + g.pick("_", "__", "-_", ".") + g.run(mixed, 0, 4) + g.pick("", ".c")
	case 3, 4:
		host = g.run("0123456789", 11, 13) + g.pick(".dkr.ecr.", ".dkr-ecr.", ".dkr.ecr-fips.", ".dkr_ecr.", ".DKR.ecr.") +
			g.pick("eu-west-1", "cn-north-1", "us-gov-west-1", "nowhere") +
			g.pick(".amazonaws.com", ".amazonaws.com.cn", ".on.aws", ".c2s.ic.gov", ".amazonaws.co")
	default:
		for label := range 1 + g.random.Intn(3) {
			if label > 0 {
				host += "."
			}
			host += g.run(mixed, 1, 4) + g.pick("", "", "-"+g.run(mixed, 1, 2), "--"+g.run(mixed, 0, 1))
		}
	}
	return host + g.pick("", "", ":"+g.run("0123456789", 0, 6))
}

func (g *generator) component() string {
	text := g.run(lower, 1, 5)
	for range g.random.Intn(3) {
		text += g.pick(".", "_", "__", "-", "---", "___", "..", "_.", "") + g.run(lower, 1, 3)
	}
	return text
}

func (g *generator) tag() string {
	if g.random.Intn(30) == 0 {
		return g.run(mixed+"_.-", 126, 130)
	}
	return g.run(mixed+"_", 1, 1) + g.run(mixed+"_.-", 0, 8)
}

func (g *generator) digest() string {
	algorithm := g.pick("sha256", "sha256", "sha256", "sha384", "sha512", "SHA256", "md5", "sha256+b64", "a.b", "1a", "a..b", "")
	length := map[string]int{"sha384": 96, "sha512": 128}[algorithm]
	if length == 0 {
		length = 64
	}
	if g.random.Intn(5) == 0 {
		length = g.random.Intn(132)
	}
	digits := g.run(hex, length, length)
	if g.random.Intn(10) == 0 {
		digits = strings.ToUpper(digits)
	}
	return algorithm + ":" + digits
}

// Runes that parsers are known to stumble over: other alphabets' digits and letters, letters whose lower case is
// ASCII, what looks like a separator, invisible ones.
var odd = []rune("/:@.-_[]%+ \t\n\r\x00\x7fAZaz09{}$\\\"'<>#?&=~^*,;|!éßÀİKſ٣０．／：＠\u200b\ufeff\u00a0日𝟙🐳\U0010ffff")

func (g *generator) mutated(text string) string {
	runes := []rune(text)
	for range 1 + g.random.Intn(3) {
		at := g.random.Intn(len(runes) + 1)
		switch g.random.Intn(5) {
		case 0: // Insert.
			runes = append(runes[:at:at], append([]rune{odd[g.random.Intn(len(odd))]}, runes[at:]...)...)
		case 1: // Drop.
			if at < len(runes) {
				runes = append(runes[:at:at], runes[at+1:]...)
			}
		case 2: // Replace.
			if at < len(runes) {
				runes = append([]rune(nil), runes...)
				runes[at] = odd[g.random.Intn(len(odd))]
			}
		case 3: // Repeat a stretch.
			end := min(len(runes), at+1+g.random.Intn(8))
			runes = append(runes[:end:end], runes[at:]...)
		case 4: // Change case.
			end := min(len(runes), at+1+g.random.Intn(8))
			changed := []rune(strings.ToUpper(string(runes[at:end])))
			runes = append(runes[:at:at], append(changed, runes[end:]...)...)
		}
	}
	return string(runes)
}

func (g *generator) noise() string {
	runes := make([]rune, g.random.Intn(24))
	for i := range runes {
		switch g.random.Intn(4) {
		case 0:
			runes[i] = odd[g.random.Intn(len(odd))]
		case 1:
			// Only letters of the Unicode version that Go knows: whether a newer one is upper-case is a matter of
			// the toolchain, not of the grammar.
			if r := rune(g.random.Intn(0xd800)); unicode.IsGraphic(r) {
				runes[i] = r
			}
		default:
			runes[i] = rune(g.random.Intn(128))
		}
	}
	return string(runes)
}
