// oracle knows what distribution/reference makes of image references. Without arguments it answers: one JSON string a
// line in, one JSON object a line out, of the shape of `ecr-admission parse` without `ecr` and nulls, and with one word
// for the error. With -compare it makes references, asks both, and shows where they differ.
package main

import (
	"bufio"
	_ "crypto/sha256" // The kubelet links these two, which is what makes sha256, sha384 and sha512 known algorithms.
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

type answer struct {
	Input  string  `json:"input"`
	OK     bool    `json:"ok"`
	Error  *string `json:"error,omitempty"`
	Domain *string `json:"domain,omitempty"`
	Path   *string `json:"path,omitempty"`
	Tag    *string `json:"tag,omitempty"`
	Digest *string `json:"digest,omitempty"`
}

func main() {
	program := flag.String("compare", "", "the ecr-admission binary to compare with")
	count := flag.Int("count", 200_000, "how many references to compare")
	seed := flag.Int64("seed", 1, "the seed of the references")
	flag.Parse()
	// The lines of stdin are what to answer, or what to make more references from.
	inputs, err := readInputs(os.Stdin)
	if err == nil && *program == "" {
		err = answerAll(inputs, os.Stdout)
	} else if err == nil {
		err = compare(*program, inputs, *count, *seed)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// readInputs reads JSON strings, or JSON objects with an `input`, one a line.
func readInputs(from io.Reader) ([]string, error) {
	var inputs []string
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var object answer
		target := any(&object)
		if strings.HasPrefix(lines.Text(), "\"") {
			target = &object.Input
		}
		if err := json.Unmarshal(lines.Bytes(), target); err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		inputs = append(inputs, object.Input)
	}
	return inputs, lines.Err()
}

func answerAll(inputs []string, to io.Writer) error {
	out := bufio.NewWriter(to)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, input := range inputs {
		if err := encoder.Encode(ask(input)); err != nil {
			return err
		}
	}
	return out.Flush()
}

func ask(input string) answer {
	named, err := reference.ParseNormalizedNamed(input)
	if err != nil {
		word := wordFor(err)
		return answer{Input: input, Error: &word}
	}
	domain, path := reference.Domain(named), reference.Path(named)
	result := answer{Input: input, OK: true, Domain: &domain, Path: &path}
	if tagged, ok := named.(reference.Tagged); ok {
		tag := tagged.Tag()
		result.Tag = &tag
	}
	if digested, ok := named.(reference.Digested); ok {
		text := digested.Digest().String()
		result.Digest = &text
	}
	return result
}

func wordFor(err error) string {
	switch {
	case strings.Contains(err.Error(), "64-byte hexadecimal"):
		return "identifier"
	case strings.Contains(err.Error(), "must be lowercase"):
		return "uppercase"
	case errors.Is(err, reference.ErrReferenceInvalidFormat):
		return "format"
	case errors.Is(err, reference.ErrNameTooLong):
		return "path-length"
	case errors.Is(err, digest.ErrDigestUnsupported):
		return "digest-algorithm"
	case errors.Is(err, digest.ErrDigestInvalidFormat):
		return "digest-format"
	case errors.Is(err, digest.ErrDigestInvalidLength):
		return "digest-length"
	default:
		return err.Error()
	}
}
