// Google's Go library, one operation for each line that is read.
//
//	client URL [endpoint|env|bare] [json]: how it finds URL, and which
//	API it reads with.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
)

var client *storage.Client

// words of an operation's line
type words []json.RawMessage

func (w words) text(i int) string {
	var s string
	json.Unmarshal(w[i], &s)
	return s
}

func (w words) number(i int) int64 {
	var n int64
	json.Unmarshal(w[i], &n)
	return n
}

func (w words) object() *storage.ObjectHandle {
	return client.Bucket(w.text(1)).Object(w.text(2))
}

func read(r *storage.Reader, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func list(w words, ctx context.Context) (any, error) {
	names := []string{}
	query := &storage.Query{Prefix: w.text(2), Delimiter: w.text(3)}
	objects := client.Bucket(w.text(1)).Objects(ctx, query)
	objects.PageInfo().MaxSize = 2
	for {
		found, err := objects.Next()
		if errors.Is(err, iterator.Done) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		names = append(names, found.Prefix+found.Name)
	}
}

// filled repeats the ten digits
type filled struct{ at, size int64 }

func (f *filled) Read(p []byte) (int, error) {
	if f.at == f.size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), f.size-f.at)
	for i := range n {
		p[i] = byte('0' + (f.at+i)%10)
	}
	f.at += n
	return int(n), nil
}

func write(w words, ctx context.Context) (any, error) {
	object := w.object()
	if len(w) > 5 && w.text(5) == "once" {
		object = object.If(storage.Conditions{DoesNotExist: true})
	}
	writer := object.NewWriter(ctx)
	writer.ChunkSize = int(w.number(4))
	writer.ContentType = "video/mp4"
	writer.Metadata = map[string]string{"k": "ü"}
	if len(w) > 5 && w.text(5) == "public" {
		writer.PredefinedACL = "publicRead"
	}
	if _, err := io.Copy(writer, &filled{0, w.number(3)}); err != nil {
		writer.Close()
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return writer.Attrs().Name, nil
}

func name(attrs *storage.ObjectAttrs, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return attrs.Name, nil
}

func do(w words, ctx context.Context) (any, error) {
	switch w.text(0) {
	case "bucket":
		attrs, err := client.Bucket(w.text(1)).Attrs(ctx)
		if err != nil {
			return nil, err
		}
		return attrs.Location, nil
	case "list":
		return list(w, ctx)
	case "metadata":
		a, err := w.object().Attrs(ctx)
		if err != nil {
			return nil, err
		}
		return map[string]any{"name": a.Name, "mediaLink": a.MediaLink,
			"size": a.Size, "metadata": a.Metadata,
			"metageneration": a.Metageneration}, nil
	case "download":
		return read(w.object().NewReader(ctx))
	case "range":
		return read(w.object().NewRangeReader(ctx, w.number(3),
			w.number(4)))
	case "generation":
		return read(w.object().If(storage.Conditions{
			GenerationMatch: w.number(3)}).NewReader(ctx))
	case "write":
		return write(w, ctx)
	case "update":
		return name(w.object().Update(ctx, storage.ObjectAttrsToUpdate{
			Metadata: map[string]string{"n": "1"}}))
	case "copy":
		target := client.Bucket(w.text(3)).Object(w.text(4))
		return name(target.CopierFrom(w.object()).Run(ctx))
	case "compose":
		target := client.Bucket(w.text(1)).Object(w.text(3))
		return name(target.ComposerFrom(w.object(), w.object()).Run(ctx))
	case "move":
		return name(w.object().Move(ctx, storage.MoveObjectDestination{
			Object: w.text(3)}))
	case "delete":
		return nil, w.object().Delete(ctx)
	case "permissions":
		return client.Bucket(w.text(1)).IAM().TestPermissions(ctx,
			[]string{w.text(2)})
	case "buckets":
		_, err := client.Buckets(ctx, "p").Next()
		return nil, err
	case "createBucket":
		return nil, client.Bucket(w.text(1)).Create(ctx, "p", nil)
	case "makePublic":
		return nil, w.object().ACL().Set(ctx, storage.AllUsers,
			storage.RoleReader)
	case "policy":
		return client.Bucket(w.text(1)).IAM().Policy(ctx)
	}
	return nil, errors.New("no such operation")
}

// told is what a user of the library can find out of an error
func told(err error) map[string]any {
	answer := map[string]any{"error": err.Error()}
	var api *googleapi.Error
	if errors.As(err, &api) {
		answer["code"] = api.Code
		if !strings.Contains(err.Error(), api.Message) {
			answer["error"] = err.Error() + " " + api.Message
		}
	} else if errors.Is(err, storage.ErrObjectNotExist) {
		answer["code"] = 404
	}
	return answer
}

func main() {
	url, how := os.Args[1], os.Args[2]
	options := []option.ClientOption{}
	switch how {
	case "env":
		os.Setenv("STORAGE_EMULATOR_HOST",
			strings.TrimPrefix(url, "http://"))
	case "bare":
		options = append(options, option.WithEndpoint(url),
			option.WithoutAuthentication())
	default:
		options = append(options, option.WithEndpoint(url+"/storage/v1/"),
			option.WithoutAuthentication())
	}
	if len(os.Args) > 3 {
		options = append(options, storage.WithJSONReads())
	}

	var err error
	client, err = storage.NewClient(context.Background(), options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}

	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var w words
		if err := json.Unmarshal(bytes.TrimSpace(line), &w); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		ctx, cancel := context.WithTimeout(context.Background(),
			50*time.Second)
		value, err := do(w, ctx)
		cancel()
		answer := map[string]any{"ok": value}
		if err != nil {
			answer = told(err)
		}
		out, _ := json.Marshal(answer)
		os.Stdout.Write(append(out, '\n'))
	}
}
