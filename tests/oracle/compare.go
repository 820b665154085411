package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"reflect"
)

// sentences are what ecr-admission says for each of our words.
var sentences = map[string]string{
	"64 hexadecimal digits are an image's identifier, not its name": "identifier",
	"the repository must be in lower case":                          "uppercase",
	"it does not have the form registry/repository:tag":             "format",
	"the repository has more than 255 characters":                   "path-length",
	"the digest's algorithm is none of sha256, sha384 and sha512":   "digest-algorithm",
	"the digest must be in lower case":                              "digest-format",
	"the digest has the wrong length for its algorithm":             "digest-length",
}

const shownMax = 50

// compare asks both parsers about the seeds and about references made from them.
func compare(program string, seeds []string, count int, seed int64) error {
	generate := generator{rand.New(rand.NewSource(seed)), seeds}
	inputs := append([]string(nil), seeds...)
	for len(inputs) < count {
		inputs = append(inputs, generate.next())
	}
	var asked bytes.Buffer
	encoder := json.NewEncoder(&asked)
	encoder.SetEscapeHTML(false)
	for _, input := range inputs {
		if err := encoder.Encode(input); err != nil {
			return err
		}
	}
	command := exec.Command(program, "parse")
	command.Stdin, command.Stderr = &asked, os.Stderr
	output, err := command.Output()
	if err != nil {
		return fmt.Errorf("%s parse: %w", program, err)
	}
	answers := bytes.Split(bytes.TrimSuffix(output, []byte("\n")), []byte("\n"))
	if len(answers) != len(inputs) {
		return fmt.Errorf("%d answers to %d questions", len(answers), len(inputs))
	}
	return report(inputs, answers)
}

func report(inputs []string, answers [][]byte) error {
	kinds, different := map[string]int{}, 0
	for i, input := range inputs {
		want := ask(input)
		// What JSON cannot carry arrives as the replacement character.
		if encoded, err := json.Marshal(input); err != nil || json.Unmarshal(encoded, &want.Input) != nil {
			return fmt.Errorf("cannot encode %q", input)
		}
		var got answer
		if err := json.Unmarshal(answers[i], &got); err != nil {
			return fmt.Errorf("%s: %w", answers[i], err)
		}
		if got.Error != nil {
			word := sentences[*got.Error]
			got.Error = &word
		}
		if want.OK {
			kinds["ok"]++
		} else {
			kinds[*want.Error]++
		}
		if !reflect.DeepEqual(got, want) {
			if different++; different <= shownMax {
				text, _ := json.Marshal(want)
				fmt.Printf("want %s\n got %s\n", text, answers[i])
			}
		}
	}
	fmt.Printf("compared %d references: %v\n", len(inputs), kinds)
	if different > 0 {
		return fmt.Errorf("%d differ", different)
	}
	return nil
}
