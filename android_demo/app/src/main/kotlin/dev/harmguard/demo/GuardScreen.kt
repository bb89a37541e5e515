package dev.harmguard.demo

import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.ColumnScope
import androidx.compose.foundation.layout.ExperimentalLayoutApi
import androidx.compose.foundation.layout.FlowRow
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.imePadding
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.safeDrawingPadding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.text.input.TextFieldLineLimits
import androidx.compose.foundation.text.input.TextFieldState
import androidx.compose.foundation.text.input.rememberTextFieldState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.Button
import androidx.compose.material3.Card
import androidx.compose.material3.FilledTonalButton
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.LocalTextStyle
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Surface
import androidx.compose.material3.Text
import androidx.compose.material3.TextButton
import androidx.compose.runtime.Composable
import androidx.compose.ui.Modifier
import androidx.compose.ui.platform.testTag
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.LiveRegionMode
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.heading
import androidx.compose.ui.semantics.liveRegion
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.text.AnnotatedString
import androidx.compose.ui.text.SpanStyle
import androidx.compose.ui.text.buildAnnotatedString
import androidx.compose.ui.text.font.FontWeight
import androidx.compose.ui.text.style.TextDirection
import androidx.compose.ui.text.withStyle
import androidx.compose.ui.unit.dp
import dev.harmguard.core.Explanation
import dev.harmguard.core.Verdict
import java.util.Locale

/** Texts, and below them what the guard says of them. */
@Composable
fun GuardScreen(
    state: GuardState,
    onCheck: (String, String) -> Unit,
    onStream: (String, String) -> Unit,
    onBench: () -> Unit,
    onShare: (String) -> Unit,
) {
    val prompt = rememberTextFieldState(stringResource(R.string.prompt_sample))
    val response = rememberTextFieldState(stringResource(R.string.response_sample))
    Surface(Modifier.fillMaxSize()) {
        Column(
            Modifier
                .verticalScroll(rememberScrollState())
                .safeDrawingPadding()
                .imePadding()
                .padding(16.dp),
            verticalArrangement = Arrangement.spacedBy(12.dp),
        ) {
            Text(stringResource(R.string.app_name), Modifier.semantics { heading() }, style = MaterialTheme.typography.headlineMedium)
            Text(stringResource(R.string.about), style = MaterialTheme.typography.bodyMedium)
            Field(prompt, R.string.prompt, "prompt")
            Field(response, R.string.response, "response")
            Actions(
                !state.busy,
                { onCheck(prompt.text.toString(), response.text.toString()) },
                { onStream(prompt.text.toString(), response.text.toString()) },
            )
            if (state.busy) Progress(state.opening)
            state.failure?.let { Failure(it) }
            state.checked?.let { VerdictCard(it) }
            state.checked?.explanation?.let { SentenceCard(state.checked.text, it) }
            state.streamed?.let { StreamCard(it) }
            BenchCard(state, onBench, onShare)
        }
    }
}

@Composable
private fun Field(
    text: TextFieldState,
    label: Int,
    tag: String,
) {
    OutlinedTextField(
        text,
        Modifier.fillMaxWidth().testTag(tag),
        label = { Text(stringResource(label)) },
        textStyle = anyDirection(),
        lineLimits = TextFieldLineLimits.MultiLine(maxHeightInLines = 6),
    )
}

/** What users write has its own direction, whatever the screen's. */
@Composable
private fun anyDirection() = LocalTextStyle.current.copy(textDirection = TextDirection.Content)

@OptIn(ExperimentalLayoutApi::class)
@Composable
private fun Actions(
    enabled: Boolean,
    onCheck: () -> Unit,
    onStream: () -> Unit,
) {
    // Buttons wrap where fonts are large.
    FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp), verticalArrangement = Arrangement.spacedBy(8.dp)) {
        Button(onCheck, Modifier.testTag("check"), enabled) { Text(stringResource(R.string.check)) }
        FilledTonalButton(onStream, Modifier.testTag("stream"), enabled) { Text(stringResource(R.string.stream)) }
    }
}

@Composable
private fun Progress(opening: Boolean) {
    LinearProgressIndicator(Modifier.fillMaxWidth())
    if (opening) Text(stringResource(R.string.opening))
}

@Composable
private fun Failure(message: String) {
    Text(
        stringResource(R.string.failed, message),
        Modifier.testTag("failure").semantics { liveRegion = LiveRegionMode.Polite },
        color = MaterialTheme.colorScheme.error,
    )
}

@Composable
private fun VerdictCard(checked: Checked) {
    val verdict = checked.verdict
    Section(null, "verdict") {
        val color = if (verdict.harmful) MaterialTheme.colorScheme.error else MaterialTheme.colorScheme.primary
        Text(
            stringResource(if (verdict.harmful) R.string.harmful else R.string.harmless),
            Modifier.semantics {
                heading()
                liveRegion = LiveRegionMode.Polite
            },
            color = color,
            style = MaterialTheme.typography.headlineSmall,
        )
        val spoken = stringResource(R.string.score_of, number(verdict.score.toDouble(), 4), number(verdict.threshold, 4))
        LinearProgressIndicator({ verdict.score }, Modifier.fillMaxWidth().semantics { contentDescription = spoken }, color)
        Facts(checked, verdict)
    }
}

@Composable
private fun Facts(
    checked: Checked,
    verdict: Verdict,
) {
    Fact(R.string.score, number(verdict.score.toDouble(), 4))
    Fact(R.string.threshold, number(verdict.threshold, 4))
    Fact(R.string.view, verdict.view.toString())
    Fact(R.string.windows, whole(verdict.windows))
    Fact(R.string.tokens, whole(verdict.tokens))
    Fact(R.string.unreadable, number(verdict.unreadable * PERCENT, 0) + " %")
    Fact(R.string.time, stringResource(R.string.milliseconds, number(checked.milliseconds, 1)))
    val memory = checked.memory?.let { stringResource(R.string.megabytes, it) }
    Fact(R.string.memory, memory ?: stringResource(R.string.unknown))
}

@Composable
private fun Fact(
    label: Int,
    value: String,
) {
    // One stop for TalkBack, not two.
    Row(Modifier.fillMaxWidth().semantics(mergeDescendants = true) {}, Arrangement.spacedBy(16.dp)) {
        Text(stringResource(label), Modifier.weight(1f), color = MaterialTheme.colorScheme.onSurfaceVariant)
        Text(value, fontWeight = FontWeight.Medium)
    }
}

@Composable
private fun SentenceCard(
    text: String,
    explanation: Explanation,
) {
    Section(R.string.which, "sentences") {
        val says =
            when {
                explanation.named.isEmpty() -> R.string.which_none
                explanation.spread -> R.string.which_spread
                else -> R.string.which_named
            }
        Text(stringResource(says))
        if (explanation.named.isNotEmpty()) {
            val marked =
                SpanStyle(MaterialTheme.colorScheme.onErrorContainer, background = MaterialTheme.colorScheme.errorContainer)
            Text(marked(text, explanation, marked), style = anyDirection())
            // For who cannot see the marks.
            explanation.named.forEachIndexed { rank, part ->
                Text("${whole(rank + 1)}. ${slice(text, part.start, part.end).trim()}", style = MaterialTheme.typography.bodySmall)
            }
        }
    }
}

@Composable
private fun StreamCard(streamed: Streamed) {
    Section(R.string.streamed, "streamed") {
        if (streamed.released.isNotEmpty()) Text(streamed.released, Modifier.testTag("released"), style = anyDirection())
        val stop = streamed.stop
        val says =
            when {
                stop != null -> stringResource(R.string.stopped, stop.start, number(stop.score.toDouble(), 4))
                streamed.done -> stringResource(R.string.finished, streamed.arrived)
                else -> stringResource(R.string.held, streamed.held)
            }
        Text(
            says,
            // Said at the end alone: it changes with every word.
            if (stop != null || streamed.done) Modifier.semantics { liveRegion = LiveRegionMode.Polite } else Modifier,
            color = if (stop == null) MaterialTheme.colorScheme.onSurfaceVariant else MaterialTheme.colorScheme.error,
            fontWeight = FontWeight.Medium,
        )
    }
}

@Composable
private fun BenchCard(
    state: GuardState,
    onBench: () -> Unit,
    onShare: (String) -> Unit,
) {
    Section(R.string.bench, "bench") {
        val (step, result) = state.benched
        Text(stringResource(R.string.bench_about))
        TextButton(onBench, Modifier.testTag("run"), !state.busy) { Text(stringResource(R.string.bench_run)) }
        step?.let { Text(stringResource(R.string.bench_running, it)) }
        result?.let { found ->
            found.medians.forEach { (tokens, median) ->
                Row(Modifier.fillMaxWidth().semantics(mergeDescendants = true) {}, Arrangement.spacedBy(16.dp)) {
                    Text(stringResource(R.string.bench_row, tokens), Modifier.weight(1f))
                    Text(stringResource(R.string.milliseconds, number(median, 1)))
                }
            }
            FilledTonalButton({ onShare(found.json) }, Modifier.testTag("share")) { Text(stringResource(R.string.share)) }
        }
    }
}

@Composable
private fun Section(
    title: Int?,
    tag: String,
    content: @Composable ColumnScope.() -> Unit,
) {
    Card(Modifier.fillMaxWidth().testTag(tag)) {
        Column(Modifier.padding(16.dp), Arrangement.spacedBy(8.dp)) {
            title?.let { Text(stringResource(it), Modifier.semantics { heading() }, style = MaterialTheme.typography.titleMedium) }
            content()
        }
    }
}

private fun marked(
    text: String,
    explanation: Explanation,
    style: SpanStyle,
): AnnotatedString =
    buildAnnotatedString {
        for (part in explanation.parts) {
            val sentence = slice(text, part.start, part.end)
            if (part in explanation.named) withStyle(style) { append(sentence) } else append(sentence)
        }
    }

/** A part of a text by code points, as the guard counts. */
private fun slice(
    text: String,
    start: Int,
    end: Int,
): String {
    val from = text.offsetByCodePoints(0, start)
    return text.substring(from, text.offsetByCodePoints(from, end - start))
}

// In the digits of the user's language.
private fun number(
    value: Double,
    digits: Int,
): String = String.format(Locale.getDefault(), "%.${digits}f", value)

private fun whole(value: Int): String = String.format(Locale.getDefault(), "%d", value)

private const val PERCENT = 100
