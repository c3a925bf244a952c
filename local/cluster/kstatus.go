package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// kstatusMain reads one JSON object a line and prints what the reference implementation makes of each: the status
// (Current, InProgress, Failed, Terminating), a tab, and its message. Flux and others judge our objects by it.
func kstatusMain() int {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		object := &unstructured.Unstructured{}
		if err := json.Unmarshal(lines.Bytes(), object); err != nil {
			fmt.Fprintf(os.Stderr, "kstatus: not an object: %v\n", err)
			return 1
		}
		result, err := status.Compute(object)
		if err != nil {
			fmt.Fprintf(os.Stderr, "kstatus: %v\n", err)
			return 1
		}
		fmt.Printf("%s\t%s\n", result.Status, result.Message)
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintf(os.Stderr, "kstatus: %v\n", err)
		return 1
	}
	return 0
}
