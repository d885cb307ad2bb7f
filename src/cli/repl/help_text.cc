// The recording in tests/golden/api is the specification; a test compares.
#include "cli/repl/help_text.h"

namespace carat::cli {

const std::string_view kHelpCommands = R"(Available Commands:
  /set            Set session variables
  /show           Show model information
  /load <model>   Load a session or model
  /save <model>   Save your current session
  /clear          Clear session context
  /bye            Exit
  /?, /help       Help for a command
  /? shortcuts    Help for keyboard shortcuts

Use """ to begin a multi-line message.

)";

const std::string_view kHelpSet = R"(Available Commands:
  /set parameter ...     Set a parameter
  /set system <string>   Set system message
  /set history           Enable history
  /set nohistory         Disable history
  /set wordwrap          Enable wordwrap
  /set nowordwrap        Disable wordwrap
  /set format json       Enable JSON mode
  /set noformat          Disable formatting
  /set verbose           Show LLM stats
  /set quiet             Disable LLM stats
  /set think             Enable thinking
  /set nothink           Disable thinking

)";

const std::string_view kHelpParameters = R"(Available Parameters:
  /set parameter seed <int>               The same seed gives the same answer
  /set parameter num_predict <int>        Tokens of an answer at most
  /set parameter top_k <int>              Choose among the k most probable tokens
  /set parameter top_p <float>            Choose among the fewest tokens with this probability
  /set parameter min_p <float>            Drop tokens less probable than this times the best
  /set parameter num_ctx <int>            Tokens that the conversation may have
  /set parameter temperature <float>      0 is the most probable token each time
  /set parameter repeat_penalty <float>   How much repeating is discouraged
  /set parameter repeat_last_n <int>      How far back repeating counts
  /set parameter num_gpu <int>            Accepted, without effect
  /set parameter stop <string> ...        Texts that end an answer

)";

const std::string_view kHelpShow = R"(Available Commands:
  /show info         Show details for this model
  /show license      Show model license
  /show modelfile    Show Modelfile for this model
  /show parameters   Show parameters for this model
  /show system       Show system message
  /show template     Show prompt template

)";

const std::string_view kHelpShortcuts = R"(Available keyboard shortcuts:
  Ctrl + a            Move to the beginning of the line (Home)
  Ctrl + e            Move to the end of the line (End)
   Alt + b            Move back (left) one word
   Alt + f            Move forward (right) one word
  Ctrl + k            Delete the sentence after the cursor
  Ctrl + u            Delete the sentence before the cursor
  Ctrl + w            Delete the word before the cursor

  Ctrl + l            Clear the screen
  Ctrl + g            Open default editor to compose a prompt
  Ctrl + c            Stop the model from responding
  Ctrl + d            Exit carat (/bye)

)";

}  // namespace carat::cli
